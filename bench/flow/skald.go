package flow

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

var (
	tail = library("skald, tail", postgres.Tail)
	poll = library("skald, poll", postgres.Poll)
	emit = library("skald, emit", postgres.Emit)
)

var event = skald.Event[string]{Name: "bench.flow", Channel: "bench.flow"}

const (
	keys = 1000
	// reserved are connections of the store's own.
	reserved = 8
	// brokerBytes is room for all that one repetition sends.
	brokerBytes = 8 << 30
	database    = "flow"
)

func library(name string, how postgres.Relay) kind {
	return kind{name, func(ctx context.Context, c *cluster.Cluster, writers int, receive func(string)) (path, error) {
		p := &throughOutbox{}
		if err := p.open(ctx, c, how, writers, receive); err != nil {
			return nil, errors.Join(err, p.close())
		}
		return p, nil
	}}
}

// throughOutbox is the library's way, to readers of every partition of the channel.
type throughOutbox struct {
	pool  *pgxpool.Pool
	store *postgres.Store
	box   *outbox.Outbox
	relay *relay.Relay
	ends  []func() error
}

func (p *throughOutbox) onClose(end func() error) { p.ends = append(p.ends, end) }

func (p *throughOutbox) close() error {
	var faults []error
	for i := len(p.ends) - 1; i >= 0; i-- {
		faults = append(faults, p.ends[i]())
	}
	return errors.Join(faults...)
}

func (p *throughOutbox) open(ctx context.Context, c *cluster.Cluster, how postgres.Relay, writers int, receive func(string)) (err error) {
	if err := p.openStore(ctx, c, how, writers+reserved); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	broker, err := p.startBroker(ctx, quiet, brokerBytes)
	if err != nil {
		return err
	}
	if p.box, err = outbox.New(p.store, "sender"); err != nil {
		return err
	}
	if p.relay, err = relay.New(p.store, broker, relay.Config{Logger: quiet}); err != nil {
		return err
	}
	return p.read(ctx, broker, receive)
}

func (p *throughOutbox) openStore(ctx context.Context, c *cluster.Cluster, how postgres.Relay, connections int) (err error) {
	if p.pool, err = c.Create(ctx, database, connections); err != nil {
		return err
	}
	p.onClose(func() error {
		p.pool.Close()
		return c.Drop(context.WithoutCancel(ctx), database)
	})
	p.store, err = postgres.Open(ctx, p.pool, postgres.Config{Relay: how, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		p.onClose(p.store.DB().Close)
	}
	return err
}

func (p *throughOutbox) startBroker(ctx context.Context, logger *slog.Logger, room int64) (*nats.Broker, error) {
	dir, err := os.MkdirTemp("", "skald-bench-")
	if err != nil {
		return nil, err
	}
	p.onClose(func() error { return os.RemoveAll(dir) })
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker"), Logger: logger})
	if err != nil {
		return nil, err
	}
	p.onClose(server.Shutdown)
	config := server.Config()
	config.MaxBytes = room
	broker, err := nats.Connect(ctx, config)
	if err != nil {
		return nil, err
	}
	p.onClose(broker.Close)
	return broker, nil
}

// read receives from every partition until the path is closed.
func (p *throughOutbox) read(ctx context.Context, broker *nats.Broker, receive func(string)) error {
	partitions, err := broker.Partitions(ctx, event.Channel)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	p.onClose(func() error {
		stop()
		group.Wait()
		return nil
	})
	for number := range partitions {
		reader, err := broker.OpenReader(ctx, inbox.Partition{Channel: event.Channel, Group: "receiver", Number: number}, inbox.Position{})
		if err != nil {
			return err
		}
		p.onClose(reader.Close)
		group.Go(func() { receiveAll(reading, reader, receive) })
	}
	return nil
}

// receiveAll receives until the reader fails; what is missing then, the meter says.
func receiveAll(ctx context.Context, reader inbox.Reader, receive func(string)) {
	for {
		deliveries, err := reader.Receive(ctx)
		if err != nil {
			return
		}
		for i := range deliveries {
			var text string
			if skald.Decode(&deliveries[i].Message, &text) == nil {
				receive(text)
			}
		}
		reader.Committed(deliveries[len(deliveries)-1].Position)
	}
}

func (p *throughOutbox) write(ctx context.Context, contents []string, committing func()) error {
	messages := make([]skald.Message, len(contents))
	for i, text := range contents {
		m, err := event.Message(text)
		if err != nil {
			return err
		}
		number, err := strconv.Atoi(text[:digits])
		if err != nil {
			return err
		}
		m.Key = strconv.Itoa(number % keys)
		messages[i] = m
	}
	return p.store.Transact(ctx, func(ctx context.Context, tx *postgres.Tx) error {
		defer committing()
		return p.box.Add(ctx, tx, messages...)
	})
}

func (p *throughOutbox) carry(ctx context.Context) error { return p.relay.Run(ctx) }
