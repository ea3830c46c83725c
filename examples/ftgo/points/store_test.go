package points_test

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/sqlite"
)

// mortal is a service's store, at which its process is killed when it reaches the point.
type mortal struct {
	*sqlite.Store
	service, point string
	started        atomic.Bool // a saga, by this process
	published      atomic.Bool // something since
	// What the batch under way writes: one of a store's batches is open at a time.
	starts, moves, handles, undoes atomic.Bool
}

// reach kills the process if this is the point, as nothing else does: no deferred function
// runs, nothing is flushed.
func (m *mortal) reach(where string) {
	if m.point != m.service+" "+where {
		return
	}
	_, _ = os.Stdout.WriteString("reached " + m.point + "\n")
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}

func (m *mortal) Begin(ctx context.Context) (inbox.Batch, error) {
	b, err := m.Store.Begin(ctx)
	for _, is := range []*atomic.Bool{&m.starts, &m.moves, &m.handles, &m.undoes} {
		is.Store(false)
	}
	return &batch{b, m}, err
}

type batch struct {
	inbox.Batch
	store *mortal
}

func (b *batch) Commit(ctx context.Context) error {
	b.reach("before")
	err := b.Batch.Commit(ctx)
	if err == nil {
		b.reach("after")
		b.store.started.Store(b.store.started.Load() || b.store.starts.Load())
	}
	return err
}

func (b *batch) reach(when string) {
	m := b.store
	for what, is := range map[string]*atomic.Bool{"a start": &m.starts, "a message": &m.handles, "an undo": &m.undoes} {
		if is.Load() {
			m.reach(when + " the commit of " + what)
		}
	}
}

func (m *mortal) SaveSagas(ctx context.Context, tx skald.Tx, records []saga.Record) error {
	m.starts.Store(m.starts.Load() || slices.ContainsFunc(records, func(r saga.Record) bool { return r.Revision == 1 }))
	m.moves.Store(m.moves.Load() || slices.ContainsFunc(records, func(r saga.Record) bool { return r.Revision > 1 }))
	err := m.Store.SaveSagas(ctx, tx, records)
	if m.moves.Load() {
		m.reach("between state and command")
	}
	return err
}

func (m *mortal) RecordHandled(ctx context.Context, tx skald.Tx, group string, at time.Time, handled []inbox.Handled) error {
	m.handles.Store(m.handles.Load() || len(handled) > 0)
	return m.Store.RecordHandled(ctx, tx, group, at, handled)
}

func (m *mortal) SaveBarriers(ctx context.Context, tx skald.Tx, at time.Time, barriers []inbox.Barrier) error {
	undoes := func(b inbox.Barrier) bool { return b.State == inbox.BarrierUndone }
	m.undoes.Store(m.undoes.Load() || slices.ContainsFunc(barriers, undoes))
	return m.Store.SaveBarriers(ctx, tx, at, barriers)
}

func (m *mortal) SaveCheckpoint(ctx context.Context, lease relay.Lease, c relay.Checkpoint) error {
	if m.published.Load() {
		m.reach("before the checkpoint")
	}
	return m.Store.SaveCheckpoint(ctx, lease, c)
}

// broker is what a service publishes to, and its process is killed at.
type broker struct {
	*nats.Broker
	store *mortal
}

func (b broker) OpenSession(ctx context.Context, mark string) (relay.Session, error) {
	s, err := b.Broker.OpenSession(ctx, mark)
	return session{s, b.store}, err
}

type session struct {
	relay.Session
	store *mortal
}

func (s session) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	if !s.store.started.Load() { // what is published is left from before
		return s.Session.Publish(ctx, messages)
	}
	s.store.reach("before publishing")
	if half := len(messages) / 2; half > 0 && s.store.point == s.store.service+" amid publishing" {
		if _, err := s.Session.Publish(ctx, messages[:half]); err != nil {
			return relay.Receipt{}, err
		}
		s.store.reach("amid publishing")
	}
	receipt, err := s.Session.Publish(ctx, messages)
	if err == nil {
		s.store.reach("after publishing")
		s.store.published.Store(true)
	}
	return receipt, err
}
