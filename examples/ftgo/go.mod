module github.com/skald-go/skald/examples/ftgo

go 1.26.8

require (
	github.com/skald-go/skald v0.0.0
	github.com/skald-go/skald/broker/nats v0.0.0
	github.com/skald-go/skald/broker/nats/embedded v0.0.0
	github.com/skald-go/skald/store/sqlite v0.0.0
)

replace (
	github.com/skald-go/skald => ../..
	github.com/skald-go/skald/broker/nats => ../../broker/nats
	github.com/skald-go/skald/broker/nats/embedded => ../../broker/nats/embedded
	github.com/skald-go/skald/store/sqlite => ../../store/sqlite
)
