module github.com/skald-go/skald

go 1.26.8
