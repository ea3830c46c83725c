// Package throughput measures the parts of the runtime alone, on SQLite and embedded NATS:
// the relay from a full outbox to the broker, and the inbox from a full broker to a handler.
package throughput

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/sqlite"
)

// Options of a run.
type Options struct {
	// Messages to move through each part.
	Messages int
	// Ended is how many sagas have ended in each database before the run, with all that they
	// leave behind.
	Ended int
	// RelayOnly leaves the inbox out.
	RelayOnly bool
	// Report is told how far a phase is.
	Report func(phase string, done, total int)
}

// Result is one JSON line. Memory is the most that the process took, with the broker in it;
// 0 where the system does not say.
type Result struct {
	System    string  `json:"system"`
	Messages  int     `json:"messages"`
	Bytes     int     `json:"payload_bytes"`
	Ended     int     `json:"ended_sagas"`
	Add       float64 `json:"outbox_add_messages_per_s"`
	Relay     float64 `json:"relay_messages_per_s"`
	RelayPeak int     `json:"relay_peak_mib"`
	Inbox     float64 `json:"inbox_messages_per_s"`
	InboxPeak int     `json:"inbox_peak_mib"`
	Handled   int     `json:"handled"`
}

const (
	payloadBytes = 300
	// storedBytes is room for a message in the broker's stream, with its headers.
	storedBytes = 1 << 10
	// group is the name of the receiving service.
	group = "receiver"
)

var event = skald.Event[string]{Name: "bench.event", Channel: "bench.events"}

// Run moves messages of 300 bytes, on 1,000 keys, through each part in turn: what the one
// before has left is the backlog of the next.
func Run(ctx context.Context, options Options) (_ Result, err error) {
	dir, err := os.MkdirTemp("", "skald-bench-")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(dir, "broker"), Logger: quiet})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, server.Shutdown()) }()
	config := server.Config()
	config.MaxBytes = 1<<30 + int64(options.Messages)*storedBytes // nobody reads while the relay publishes
	broker, err := nats.Connect(ctx, config)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	r := Result{System: "skald on SQLite and embedded NATS", Messages: options.Messages, Bytes: payloadBytes, Ended: options.Ended}
	b := bench{dir: dir, broker: broker, logger: quiet, options: options, result: &r}
	err = b.run(ctx)
	return r, err
}

type bench struct {
	dir     string
	broker  *nats.Broker
	logger  *slog.Logger
	options Options
	result  *Result
}

func (b *bench) report(phase string, done, total int) { b.options.Report(phase, done, total) }

// open opens a database that has its history.
func (b *bench) open(ctx context.Context, name string) (*sqlite.Store, error) {
	store, err := sqlite.Open(ctx, filepath.Join(b.dir, name+".db"), sqlite.Config{})
	if err != nil {
		return nil, err
	}
	if err := b.addHistory(ctx, store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func (b *bench) run(ctx context.Context) (err error) {
	sender, err := b.open(ctx, "sender")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sender.Close()) }()
	if err := b.fill(ctx, sender); err != nil {
		return err
	}
	if err := b.relay(ctx, sender); err != nil {
		return err
	}
	if b.options.RelayOnly {
		return nil
	}
	return b.handle(ctx)
}

// fill adds messages a hundred to a transaction of the caller's own.
func (b *bench) fill(ctx context.Context, store *sqlite.Store) error {
	const each = 100
	box, err := outbox.New(store, "sender")
	if err != nil {
		return err
	}
	content, began := strings.Repeat("x", payloadBytes-2), time.Now()
	for n := 0; n < b.result.Messages; n += each {
		b.report("add to the outbox", n, b.result.Messages)
		if err := addTo(ctx, store, box, content, n, min(each, b.result.Messages-n)); err != nil {
			return err
		}
	}
	b.result.Add = perSecond(b.result.Messages, began)
	return nil
}

func addTo(ctx context.Context, store *sqlite.Store, box *outbox.Outbox, content string, from, n int) error {
	tx, err := store.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	batch := make([]skald.Message, n)
	for i := range batch {
		if batch[i], err = event.Message(content); err != nil {
			return err
		}
		batch[i].Key = "key-" + strconv.Itoa((from+i)%1000)
	}
	if err := box.Add(ctx, tx, batch...); err != nil {
		return err
	}
	return tx.Commit()
}

// counted is the broker as the relay uses it, counting what it has acknowledged.
type counted struct {
	relay.Publisher
	published atomic.Int64
}

type countedSession struct {
	relay.Session
	by *counted
}

func (c *counted) OpenSession(ctx context.Context, mark string) (relay.Session, error) {
	s, err := c.Publisher.OpenSession(ctx, mark)
	return &countedSession{s, c}, err
}

func (s *countedSession) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	receipt, err := s.Session.Publish(ctx, messages)
	if err == nil {
		s.by.published.Add(int64(len(messages) - len(receipt.Rejected)))
	}
	return receipt, err
}

func (b *bench) relay(ctx context.Context, store *sqlite.Store) error {
	publisher := &counted{Publisher: b.broker}
	r, err := relay.New(store, publisher, relay.Config{Logger: b.logger})
	if err != nil {
		return err
	}
	process.ForgetPeak()
	began := time.Now()
	return b.drain(ctx, "relay to the broker", r.Run, func() int { return int(publisher.published.Load()) }, func() {
		b.result.Relay, b.result.RelayPeak = perSecond(b.result.Messages, began), process.Peak()
	})
}

func (b *bench) handle(ctx context.Context) (err error) {
	store, err := b.open(ctx, "receiver")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if _, err := store.DB().ExecContext(ctx, `CREATE TABLE seen (id INTEGER PRIMARY KEY, content TEXT NOT NULL)`); err != nil {
		return err
	}
	s, err := service.New(group, store, b.broker, service.Config{Logger: b.logger})
	if err != nil {
		return err
	}
	var handled atomic.Int64
	service.HandleEvent(s, event, func(ctx context.Context, tx *sql.Tx, content string) error {
		service.OnCommit(ctx, func() { handled.Add(1) })
		_, err := tx.ExecContext(ctx, `INSERT INTO seen (content) VALUES (?)`, content)
		return err
	})
	process.ForgetPeak()
	began := time.Now()
	err = b.drain(ctx, "handle", s.Run, func() int { return int(handled.Load()) }, func() {
		b.result.Inbox, b.result.InboxPeak = perSecond(b.result.Messages, began), process.Peak()
	})
	if err != nil {
		return err
	}
	return store.DB().QueryRowContext(ctx, `SELECT count(*) FROM seen`).Scan(&b.result.Handled)
}

// drain runs a part until count has reached all messages.
func (b *bench) drain(ctx context.Context, phase string, run func(context.Context) error, count func() int, reached func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return errors.Join(fmt.Errorf("%s: ended after %d of %d messages", phase, count(), b.result.Messages), err, context.Cause(ctx))
		case <-look.C:
		}
		b.report(phase, count(), b.result.Messages)
		if count() >= b.result.Messages {
			reached()
			stop()
			return <-ended
		}
	}
}

func perSecond(n int, began time.Time) float64 {
	return float64(int(float64(n) / time.Since(began).Seconds()))
}
