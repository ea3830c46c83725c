package conform_test

import (
	"context"
	"sync"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
)

// polling is a store with many writers, whose outbox gives a row its id when it is added, and
// whose cursor reads the ids above the last that it has read: what commits late with a lower
// one is lost.
type polling struct {
	*skaldtest.Store

	mu   sync.Mutex
	id   uint64
	rows []relay.Record // committed
}

// drawing is a transaction of a polling store; its rows have their ids already.
type drawing struct {
	skald.Tx
	rows []relay.Record
}

func (p *polling) begin(context.Context) (tx skald.Tx, commit, rollback func() error, err error) {
	d := &drawing{}
	return d, func() error { p.commit(d); return nil }, func() error { return nil }, nil
}

func (p *polling) commit(d *drawing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = append(p.rows, d.rows...)
}

func (p *polling) AddMessages(ctx context.Context, tx skald.Tx, messages []skald.Message) error {
	d, ok := tx.(*drawing)
	if !ok {
		return p.Store.AddMessages(ctx, tx, messages)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range messages {
		p.id++
		d.rows = append(d.rows, relay.Record{Position: relay.Position{Commit: p.id}, Message: m, AddedAt: m.Time})
	}
	return nil
}

func (p *polling) OpenOutbox(_ context.Context, after relay.Position) (relay.Cursor, error) {
	return &pollingCursor{p, after.Commit}, nil
}

type pollingCursor struct {
	store *polling
	last  uint64
}

// Next returns the committed row with the lowest id above the last.
func (c *pollingCursor) Next(ctx context.Context, _ int) ([]relay.Record, error) {
	for ctx.Err() == nil {
		if next, ok := c.next(); ok {
			c.last = next.Position.Commit
			return []relay.Record{next}, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	return nil, ctx.Err()
}

func (c *pollingCursor) next() (next relay.Record, ok bool) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, r := range c.store.rows {
		if c.last < r.Position.Commit && (!ok || r.Position.Before(next.Position)) {
			next, ok = r, true
		}
	}
	return next, ok
}

func (*pollingCursor) Close() error { return nil }
