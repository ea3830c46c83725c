module github.com/skald-go/skald/broker/nats/embedded

go 1.26.8

require (
	github.com/skald-go/skald v0.0.0
	github.com/skald-go/skald/broker/nats v0.0.0
)

replace (
	github.com/skald-go/skald => ../../..
	github.com/skald-go/skald/broker/nats => ..
)
