package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// execute runs a handler over one message, or over the messages of a run, and decides what
// becomes of its writes and of them.
func (p *pass) execute(ctx, handlers context.Context, g *Registration, items ...*item) error {
	s, err := p.begin(ctx, items)
	if err != nil {
		return err
	}
	requests := make([]*Request, len(items))
	for i, it := range items {
		requests[i] = &Request{Message: it.message}
	}
	err = p.guard(items, func() error {
		if err := p.runHandler(handlers, g, requests); err != nil {
			return err
		}
		return s.flush(handlers, g, requests)
	})
	if errors.Is(err, errReplay) {
		return err
	}
	if err = notRefused(err); err != nil && len(items) > 1 {
		p.lane.logTakenApart(items, err)
	}
	outcomes := make([]outcome, len(items))
	var undone []*item
	for i, it := range items {
		outcomes[i] = p.judge(g, requests[i], err)
		if outcomes[i].undo {
			undone = append(undone, it)
		}
	}
	if err := s.end(ctx, undone); err != nil {
		return err
	}
	for i, it := range items {
		if err := p.conclude(ctx, g, it, outcomes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) runHandler(ctx context.Context, g *Registration, requests []*Request) error {
	if around := p.lane.around; around != nil {
		return around(requests, func() error { return g.run(ctx, p.tx, requests) })
	}
	return g.run(ctx, p.tx, requests)
}

// outcome is what the handling of a message came to.
type outcome struct {
	reply   *skald.Message
	refused bool
	err     error
	undo    bool // what was written for it does not stay
}

func (p *pass) judge(g *Registration, r *Request, err error) outcome {
	m := r.Message
	if err == nil {
		err = r.err
	}
	if err == nil && !r.settled {
		err = fmt.Errorf("the batch handler of %q neither answered nor refused %s %s", m.Type, m.Kind, m.ID)
	}
	refusal, refused := skald.AsRefusal(err)
	if refused {
		err = checkRefusal(m, g, refusal)
	}
	var reply *skald.Message
	if err == nil {
		reply, err = p.makeReply(m, r.answer, refusal)
	}
	return outcome{reply: reply, refused: refused, err: err, undo: err != nil || refused && !refusal.Keeps()}
}

func checkRefusal(m *skald.Message, g *Registration, refusal *skald.Refusal) error {
	if m.Kind != skald.KindCommand {
		return fmt.Errorf("handler of %s %q refused it (%s): only a command can be refused", m.Kind, m.Type, refusal.Code)
	}
	if g.Declared == nil || !g.Declared(refusal.Code) {
		return fmt.Errorf("handler of %q refused with the undeclared code %q: declare it on the command", m.Type, refusal.Code)
	}
	return nil
}

func (p *pass) conclude(ctx context.Context, g *Registration, it *item, o outcome) error {
	if o.err != nil {
		p.fail(it, o.err)
		return nil //nolint:nilerr // held, with its error as the reason
	}
	p.recordBarrier(it.message, g, o.refused)
	if err := p.settleLocks(ctx, it.message, g, true, o.refused); err != nil {
		return err
	}
	return p.done(it, o.reply)
}

// runJob runs a function in the batch.
func (p *pass) runJob(ctx, handlers context.Context, it *item) error {
	if it.failed != nil {
		p.results[it] = it.failed
		return nil //nolint:nilerr // the caller gets it
	}
	if it.unsure != nil {
		if _, landed := p.known[it.unsure.record]; landed {
			p.results[it] = it.unsure.result
			return nil
		}
	}
	items := []*item{it}
	s, err := p.begin(ctx, items)
	if err != nil {
		return err
	}
	err = p.guard(items, func() error {
		if err := it.job(skald.WithCorrelation(skald.WithTrace(handlers, it.trace), it.correlation), p.tx); err != nil || !s.savepoint {
			return err
		}
		return p.batch.Flush(handlers)
	})
	if errors.Is(err, errReplay) {
		return err
	}
	p.results[it], p.ran = err, append(p.ran, it)
	if err != nil {
		return s.end(ctx, items)
	}
	return s.end(ctx, nil)
}

// guard runs a handler under the lane's watch, and makes its panic an error. One that was
// cancelled or abandoned leaves a transaction of no more use: the batch is replayed without it.
func (p *pass) guard(items []*item, fn func() error) error {
	current := &running{items: items, since: time.Now()}
	p.current.Store(current)
	err := p.consumer.protect(items[0].describe, fn)
	if failed := p.work.Failed(); failed != nil { // the handler may have said nothing of it
		err = failed
	}
	p.current.Store(nil)
	switch current.finish() {
	case abandoned:
		return errReplay
	case cancelled:
		p.lane.blame(items, errors.Join(fmt.Errorf("the %s took longer than %s", items[0].describe(), p.consumer.config.HandlerTimeout), err))
		return errReplay
	default:
		return err
	}
}

// protect makes a panic an error: the process lives on.
func (c *Consumer) protect(describe func() string, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.config.Logger.Error("inbox: a handler panicked", "handler", describe(), "panic", fmt.Sprint(r), "stack", stack())
			err = fmt.Errorf("%s panicked: %v", describe(), r)
		}
	}()
	return fn()
}

// notRefused takes a refusal that is said of nobody in particular for the error that it is: by a
// batch handler as a whole, or by a queued statement, which the first pass sends with those of others.
func notRefused(err error) error {
	if _, refused := skald.AsRefusal(err); refused {
		return fmt.Errorf("a batch handler, or a queued statement, returned a refusal in place of an error (%v): refuse by the request that it is about", err) //nolint:errorlint // not wrapped: then it would be one
	}
	return err
}

// scope is the part of the transaction that a handler writes.
type scope struct {
	pass      *pass
	mark      unit.Mark
	savepoint bool
}

// begin marks the state before a handler. There is no savepoint around several messages: when
// they fail, each is handled alone.
func (p *pass) begin(ctx context.Context, items []*item) (scope, error) {
	s := scope{pass: p, savepoint: len(items) == 1 && (p.savepoints || p.alone(items[0]))}
	if s.savepoint {
		if err := p.batch.Savepoint(ctx); err != nil {
			return s, err
		}
	}
	s.mark = p.work.Mark()
	return s, nil
}

// flush sends the statements that a handler has queued where they must be sent now: behind a
// savepoint, so that they fail for themselves, and where a batch handler answers by their
// results. What nobody waits for travels with the commit.
func (s scope) flush(ctx context.Context, g *Registration, requests []*Request) error {
	if !s.savepoint {
		if g.HandleBatch != nil {
			return s.pass.batch.Await(ctx)
		}
		return nil
	}
	refusal, refused := skald.AsRefusal(requests[0].err)
	if g.HandleBatch != nil || requests[0].err == nil || refused && refusal.Keeps() {
		return s.pass.batch.Flush(ctx)
	}
	return nil
}

// end keeps what was written, or undoes it. Without a savepoint that takes a replay, in which
// those that are to be undone have one.
func (s scope) end(ctx context.Context, undone []*item) error {
	switch {
	case len(undone) > 0 && s.savepoint:
		s.pass.work.Reset(s.mark)
		return s.pass.batch.RollbackTo(ctx)
	case len(undone) > 0:
		for _, it := range undone {
			it.suspect = true
		}
		return errReplay
	case s.savepoint:
		return s.pass.batch.Release(ctx)
	default:
		return nil
	}
}
