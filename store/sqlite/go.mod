module github.com/skald-go/skald/store/sqlite

go 1.26.8

require github.com/skald-go/skald v0.0.0

replace github.com/skald-go/skald => ../..
