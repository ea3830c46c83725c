package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// Broker is a NATS server, or a cluster of them, as Skald uses it. It is safe for
// concurrent use.
type Broker struct {
	cfg Config

	// dialing is held while the readers' connection is made; a channel, so that a caller
	// whose context ends does not wait.
	dialing chan struct{}

	mu       sync.Mutex
	shared   *connection // of all readers; replaced when it is lost
	readers  map[*reader]struct{}
	sessions map[*session]struct{}
	closed   bool

	trimmer *trimmer
}

var (
	_ inbox.Transport = (*Broker)(nil)
	_ relay.Publisher = (*Broker)(nil)
)

// Connect connects to the server and checks that it keeps streams. The broker then lives
// through losses of the server: readers and sessions fail and are opened again by their
// users, which connects anew.
func Connect(ctx context.Context, cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, dialing: make(chan struct{}, 1), readers: map[*reader]struct{}{}, sessions: map[*session]struct{}{}}
	conn, err := b.connection(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.checkJetStream(ctx); err != nil {
		return nil, errors.Join(err, conn.close())
	}
	b.trimmer = startTrimmer(context.WithoutCancel(ctx), b) // until Close
	return b, nil
}

// Partitions implements [inbox.Transport].
func (b *Broker) Partitions(ctx context.Context, channel string) (int, error) {
	conn, err := b.connection(ctx)
	if err != nil {
		return 0, err
	}
	found, err := ensureChannel(ctx, conn.js, &b.cfg, channel)
	if err != nil {
		return 0, err
	}
	return found.partitions, nil
}

// connection returns the readers' connection, and makes a new one if it is lost.
func (b *Broker) connection(ctx context.Context) (*connection, error) {
	select {
	case b.dialing <- struct{}{}:
		defer func() { <-b.dialing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("nats: connect: %w", context.Cause(ctx))
	}
	b.mu.Lock()
	conn, closed := b.shared, b.closed
	b.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if conn != nil && conn.alive() {
		return conn, nil
	}
	conn, err := connect(ctx, &b.cfg)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.Join(ErrClosed, conn.close())
	}
	b.shared = conn
	return conn, nil
}

// register keeps track of what is open, so that Close ends it; false when it is too late.
func (b *Broker) register(r *reader, s *session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	if r != nil {
		b.readers[r] = struct{}{}
	}
	if s != nil {
		b.sessions[s] = struct{}{}
	}
	return true
}

func (b *Broker) unregister(r *reader, s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, r)
	delete(b.sessions, s)
}

// Close tells the server the last committed positions, ends all readers and sessions and
// waits for them.
func (b *Broker) Close() error {
	b.trimmer.stop()
	b.mu.Lock()
	b.closed = true
	conn := b.shared
	var open []interface{ Close() error }
	for r := range b.readers {
		open = append(open, r)
	}
	for s := range b.sessions {
		open = append(open, s)
	}
	b.mu.Unlock()
	var faults []error
	for _, o := range open {
		faults = append(faults, o.Close())
	}
	if conn != nil {
		faults = append(faults, conn.close())
	}
	return errors.Join(faults...)
}
