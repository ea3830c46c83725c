package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/codec/cloudevents"
)

// SyncedAlways is the SyncInterval of a server that is configured with sync_interval:
// always, that is, whose acknowledgement means "on disk".
const SyncedAlways = time.Duration(-1)

// Config says how to reach the server and how channels are kept. Its zero value is a server
// on this machine with NATS's defaults.
type Config struct {
	// URL of the server, or several of a cluster separated by commas. Defaults to
	// nats://127.0.0.1:4222.
	URL string
	// Options are passed to the NATS client: credentials, TLS, name. Those about
	// reconnecting have no effect: a connection of this package never reconnects by itself.
	Options []client.Option
	// Dial connects instead of URL, for a server in this process or one whose address
	// changes. It passes the options on to the client. Defaults to connecting to URL.
	Dial func(ctx context.Context, options ...client.Option) (*client.Conn, error)
	// Codec is the wire format of messages that travel alone. With one of one's own, which may
	// encrypt or sign, every message travels alone: packs are in Skald's own form and would
	// bypass it, so they are neither sent nor accepted. Defaults to CloudEvents, and packs.
	Codec skald.Codec
	// Partitions of a channel. It is stored with the channel; another count than the stored
	// one is refused. Defaults to 4.
	Partitions int
	// SyncInterval of the server, which a client cannot ask for: checkpoints stay behind by
	// somewhat more than this. One that is less than the server's loses messages in a power
	// failure. [SyncedAlways] when each write is synced. Defaults to 2 minutes, NATS's default.
	SyncInterval time.Duration
	// Replicas of a channel in a cluster. This and the next two are for channels that are
	// made; one that is there keeps what it has. Defaults to 1.
	Replicas int
	// MaxAge is how long a channel keeps a message that some group has not handled; what all
	// groups have handled is trimmed earlier. Defaults to 7 days.
	MaxAge time.Duration
	// MaxBytes that a channel may take; a channel that is full refuses messages, and the
	// outbox keeps them. Defaults to 1 GiB.
	MaxBytes int64
	// TrimInterval is how often committed positions are told to the broker and what all
	// groups have handled is trimmed, while there is something to tell. Defaults to 5 seconds.
	TrimInterval time.Duration
	// Logger gets what happens in the background. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.URL = orElse(c.URL, client.DefaultURL)
	c.Partitions = orElse(c.Partitions, 4)
	c.SyncInterval = orElse(c.SyncInterval, 2*time.Minute)
	c.Replicas = orElse(c.Replicas, 1)
	c.MaxAge = orElse(c.MaxAge, 7*24*time.Hour)
	c.TrimInterval = orElse(c.TrimInterval, 5*time.Second)
	c.MaxBytes = orElse(c.MaxBytes, 1<<30)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf("nats: "+format, args...)) }
	for address := range strings.SplitSeq(c.URL, ",") {
		if _, err := url.Parse(strings.TrimSpace(address)); err != nil {
			var parse *url.Error
			errors.As(err, &parse)
			fault("Config.URL is none: %w", parse.Err) // without the address, which may hold a secret
		}
	}
	if c.Partitions < 1 || c.Partitions > 1024 {
		fault("Config.Partitions is %d: from 1 to 1024", c.Partitions)
	}
	if c.SyncInterval < 0 && c.SyncInterval != SyncedAlways {
		fault("Config.SyncInterval is %s: a duration, or SyncedAlways", c.SyncInterval)
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		fault("Config.Replicas is %d: from 1 to 5", c.Replicas)
	}
	if c.MaxAge < time.Minute {
		fault("Config.MaxAge is %s: at least a minute", c.MaxAge)
	}
	if c.TrimInterval < time.Millisecond {
		fault("Config.TrimInterval is %s: at least a millisecond", c.TrimInterval)
	}
	if c.MaxBytes < 8<<20 {
		fault("Config.MaxBytes is %d: at least 8 MiB", c.MaxBytes)
	}
	return errors.Join(faults...)
}

// settle is how long after its acknowledgement a message is surely synced: the interval,
// and a margin for the sync itself, which starts anew only after the one before it.
func (c Config) settle() time.Duration {
	if c.SyncInterval == SyncedAlways {
		return 0
	}
	return c.SyncInterval + c.SyncInterval/4 + 250*time.Millisecond
}

func (c Config) packs() bool { return c.Codec == nil }

func (c Config) codec() skald.Codec {
	if c.Codec == nil {
		return cloudevents.Codec{}
	}
	return c.Codec
}

func orElse[T comparable](value, otherwise T) T {
	if value == *new(T) {
		return otherwise
	}
	return value
}
