// Package unit is the unit of work of a batch: what handlers leave to be written once,
// at the end of the batch's transaction.
package unit

import (
	"context"
	"time"

	"github.com/skald-go/skald"
)

// Work collects a batch's deferred writes. It is used by one goroutine at a time.
type Work struct {
	Tx  skald.Tx
	Now time.Time
	// Outgoing messages, inserted into the outbox in one statement.
	Outgoing []skald.Message
	// Committed run after the commit, in order.
	Committed []func()

	parts  map[any]Part
	sealed bool
	failed error
}

// Part is a package's own share of a unit of work.
type Part interface {
	// Flush writes what was collected, at the end of the batch.
	Flush(ctx context.Context, w *Work) error
	// Mark and Reset bracket one message: Reset forgets what was collected since Mark.
	Mark()
	Reset()
}

// New returns an empty unit of work on a transaction.
func New(tx skald.Tx, now time.Time) *Work { return &Work{Tx: tx, Now: now} }

// Part returns the part registered under key, making it by create on first use.
func (w *Work) Part(key any, create func() Part) Part {
	part, ok := w.parts[key]
	if !ok {
		part = create()
		if w.parts == nil {
			w.parts = map[any]Part{}
		}
		part.Mark()
		w.parts[key] = part
	}
	return part
}

// Mark is the state of a unit of work before a message.
type Mark struct{ outgoing, committed int }

// Fail says that the current message must not be committed, whatever its handler returns: the
// transaction has half of what something was to write.
func (w *Work) Fail(err error) { w.failed = err }

// Failed is what Fail was told of the current message.
func (w *Work) Failed() error { return w.failed }

// Mark notes the state, to be returned to by Reset.
func (w *Work) Mark() Mark {
	w.failed = nil
	for _, part := range w.parts {
		part.Mark()
	}
	return Mark{len(w.Outgoing), len(w.Committed)}
}

// Reset forgets what was collected since the mark.
func (w *Work) Reset(m Mark) {
	w.Outgoing, w.Committed, w.failed = w.Outgoing[:m.outgoing], w.Committed[:m.committed], nil
	for _, part := range w.parts {
		part.Reset()
	}
}

// Seal ends the collecting: from now on [From] does not find the unit of work, and what a
// handler leaves behind that late is written into the transaction at once.
func (w *Work) Seal() { w.sealed = true }

// Flush writes every part's share. Parts may add outgoing messages.
func (w *Work) Flush(ctx context.Context) error {
	for _, part := range w.parts {
		if err := part.Flush(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

type key struct{}

// With returns a context that carries the unit of work to the handlers.
func With(ctx context.Context, w *Work) context.Context { return context.WithValue(ctx, key{}, w) }

// From returns the context's unit of work if it is the one of tx and not sealed, and nil
// otherwise: a handler may open a second transaction of its own.
func From(ctx context.Context, tx skald.Tx) *Work {
	if w, ok := ctx.Value(key{}).(*Work); ok && w.Tx == tx && !w.sealed {
		return w
	}
	return nil
}

// OnCommit calls fn after the commit of the unit of work that ctx carries; false when it
// carries none.
func OnCommit(ctx context.Context, fn func()) bool {
	w, ok := ctx.Value(key{}).(*Work)
	if ok {
		w.Committed = append(w.Committed, fn)
	}
	return ok
}
