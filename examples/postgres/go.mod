module github.com/skald-go/skald/examples/postgres

go 1.26.8

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/skald-go/skald v0.0.0
	github.com/skald-go/skald/broker/nats v0.0.0
	github.com/skald-go/skald/broker/nats/embedded v0.0.0
	github.com/skald-go/skald/internal/servers v0.0.0
	github.com/skald-go/skald/store/postgres v0.0.0
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nats-server/v2 v2.15.2 // indirect
	github.com/nats-io/nats.go v1.55.0 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/skald-go/skald => ../..

replace github.com/skald-go/skald/broker/nats => ../../broker/nats

replace github.com/skald-go/skald/broker/nats/embedded => ../../broker/nats/embedded

replace github.com/skald-go/skald/internal/servers => ../../internal/servers

replace github.com/skald-go/skald/store/postgres => ../../store/postgres
