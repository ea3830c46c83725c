package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
)

// move is something that can happen at an instant: one batch of one service, with one message.
type move struct {
	label string
	actor string // the saga whose turn it is
	perform
	aborts bool // it counts as an abort
}

// perform runs a move, and returns the instant after it.
type perform func() (*instant, error)

// moves lists what can happen. Time passes by itself when nothing else can happen.
func (s *stage) moves(m *instant) []move {
	all := slices.Concat(s.cueMoves(m), s.deliveries(m), s.retries(m))
	if m.aborts < s.config.Aborts {
		all = slices.Concat(all, s.cancels(m), s.patience(m))
	}
	return all
}

// run runs a batch of a player.
func (s *stage) run(m *instant, p *player, now time.Time, batch func(ctx context.Context) error) (*instant, error) {
	s.enterInstant(m)
	s.batches++
	p.at = nil
	if err := batch(s.ctx); err != nil {
		return nil, err
	}
	return s.leaveInstant(m, p, now)
}

// cueMoves are what comes from outside, and has not come yet.
func (s *stage) cueMoves(m *instant) []move {
	var all []move
	for i := range s.cues {
		if bit := uint64(1) << i; m.done&bit == 0 {
			c := &s.cues[i]
			all = append(all, move{label: c.what, actor: c.what, perform: func() (*instant, error) {
				next, err := s.cue(m, c)
				if err == nil && next != m {
					next.done |= bit
					s.came |= bit
				}
				return next, err
			}})
		}
	}
	return all
}

// errNotYet says that a cue cannot come yet.
type errNotYet struct{ error }

func (s *stage) cue(m *instant, c *cue) (*instant, error) {
	p := s.player(c.service)
	next, err := s.run(m, p, m.now, func(ctx context.Context) error {
		return p.stepper.Transact(ctx, m.now, func(ctx context.Context, tx skald.Tx) error {
			defer s.enter(skald.ID{}, 0, c.what, "", skald.ActionDo)()
			if err := c.do(ctx, tx.(*Tx)); err != nil {
				return errNotYet{err}
			}
			return nil
		})
	})
	if not := (errNotYet{}); errors.As(err, &not) {
		c.fault = not.error
		return m, nil
	}
	return next, err
}

// deliveries are those of the first message of each queue.
func (s *stage) deliveries(m *instant) []move {
	var all []move
	for _, q := range m.flight {
		p, message := s.players[q.player], &q.messages[0]
		deliver := func() (*instant, error) {
			next, err := s.run(m, p, m.now, func(ctx context.Context) error {
				copied := *message
				copied.Headers = message.Headers.Clone()
				return p.stepper.Deliver(ctx, m.now, inbox.Delivery{
					Message: copied, Position: inbox.Position{Incarnation: homeName, Sequence: 1, Last: message.ID},
				})
			})
			if err == nil {
				next.take(q)
			}
			return next, err
		}
		handle := move{label: p.name + " gets " + m.nameMessage(message), actor: m.actor(message), perform: deliver}
		all = append(append(all, handle), s.refusing(m, message, handle)...)
	}
	return all
}

// refusing is a move that handles a message, with each refusal that the handler may answer instead. A move in which no
// handler is asked, because the message has to wait for a lock, is none.
func (s *stage) refusing(m *instant, message *skald.Message, handle move) []move {
	if m.aborts >= s.config.Aborts {
		return nil
	}
	var all []move
	for _, code := range s.refusalsOf(m, message) {
		all = append(all, move{label: handle.label + ", and refuses: " + code, actor: handle.actor, aborts: true, perform: func() (*instant, error) {
			s.refuse, s.refused = code, false
			defer func() { s.refuse = "" }()
			next, err := handle.perform()
			if err == nil && !s.refused {
				return m, nil
			}
			return next, err
		}})
	}
	return all
}

// refusalsOf are the codes with which a command may be refused, one for each thing that may become of its saga.
func (s *stage) refusalsOf(m *instant, message *skald.Message) []string {
	id, err := skald.ParseID(message.Headers.Get(skald.HeaderSaga))
	c := m.cast(id)
	if err != nil || c == nil || message.Kind != skald.KindCommand || message.Headers.Get(skald.HeaderAction) != skald.ActionDo {
		return nil
	}
	return s.refusals[stepName{c.record.Name, message.Headers.Get(skald.HeaderStep)}]
}

// actor is whose turn it is when a message is handled.
func (m *instant) actor(message *skald.Message) string {
	id, err := skald.ParseID(message.Headers.Get(skald.HeaderSaga))
	if c := m.cast(id); err == nil && c != nil {
		return c.root
	}
	return named(message)
}

// retries are those of each held message that no other of its queue stands before. What waits for a lock is
// tried again once it has it.
func (s *stage) retries(m *instant) []move {
	var all []move
	for _, p := range s.players {
		for _, h := range m.firstHeld(p) {
			if !m.waits(p, h) {
				handle := s.retry(m, p, h, p.name+" tries again "+m.nameMessage(&h.Message))
				all = append(append(all, handle), s.refusing(m, &h.Message, handle)...)
			}
		}
	}
	return all
}

// patience is lost by each message that waits for a lock.
func (s *stage) patience(m *instant) []move {
	var all []move
	for _, p := range s.players {
		for _, h := range m.firstHeld(p) {
			if m.waits(p, h) {
				v := s.retry(m, p, h, "the patience of "+m.nameMessage(&h.Message)+" ends")
				v.aborts = true
				all = append(all, v)
			}
		}
	}
	return all
}

func (s *stage) retry(m *instant, p *player, h *inbox.Held, label string) move {
	now := m.now
	if h.NextAttempt.After(now) {
		now = h.NextAttempt
	}
	return move{label: label, actor: m.actor(&h.Message), perform: func() (*instant, error) {
		p.pick = h.Message.ID
		defer func() { p.pick = skald.ID{} }()
		return s.run(m, p, now, func(ctx context.Context) error { return p.stepper.RetryHeld(ctx, now) })
	}}
}

// firstHeld lists the messages that a service holds, the first of each queue, but for those that are parked.
func (m *instant) firstHeld(p *player) []*inbox.Held {
	var all []*inbox.Held
	seen := map[inbox.ChannelKey]bool{}
	for i := range m.held[p.index] {
		h := &m.held[p.index][i]
		if queue := h.Queue(); !seen[queue] {
			seen[queue] = true
			if h.State == inbox.HeldRetrying {
				all = append(all, h)
			}
		}
	}
	return all
}

// waits reports whether a held message waits for a lock that is another's.
func (m *instant) waits(p *player, h *inbox.Held) bool {
	for _, queue := range m.databases[p.index].tables.locks.rows {
		if i := slices.IndexFunc(queue, func(r lock.Row) bool { return r.Message == h.Message.ID }); i > 0 {
			return true
		}
	}
	return false
}

// cancels are those of each saga that may still be undone, and the passing of its deadline.
func (s *stage) cancels(m *instant) []move {
	var all []move
	for i := range m.sagas {
		c := &m.sagas[i]
		if c.root != c.name || c.record.Status != saga.Running {
			continue
		}
		p := s.players[c.player]
		all = append(all, move{label: c.name + " is cancelled", actor: c.name, aborts: true, perform: func() (*instant, error) {
			next, err := s.run(m, p, m.now, func(ctx context.Context) error {
				return p.stepper.Transact(ctx, m.now, func(ctx context.Context, tx skald.Tx) error {
					return p.service.SagaEngine().Cancel(ctx, tx, c.id, "cancelled by the interleaving")
				})
			})
			if errors.Is(err, saga.ErrDecided) || errors.Is(err, saga.ErrNotLive) {
				return m, nil
			}
			return next, err
		}})
		if !c.record.DueAt.IsZero() {
			all = append(all, s.deadline(m, c))
		}
	}
	return all
}

// deadline lets time pass to the next of a saga's deadlines.
func (s *stage) deadline(m *instant, c *cast) move {
	p, now := s.players[c.player], c.record.DueAt
	if m.now.After(now) {
		now = m.now
	}
	return move{label: "the deadline of " + c.name + " passes", actor: c.root, aborts: true, perform: func() (*instant, error) {
		return s.run(m, p, now, func(ctx context.Context) error {
			return p.stepper.Transact(ctx, now, func(ctx context.Context, tx skald.Tx) error {
				return p.service.SagaEngine().Timeout(ctx, tx, c.id)
			})
		})
	}}
}

// timers are the deadlines of all sagas: what is left when nothing else can happen. Nobody's patience is among them:
// who waits for a lock must get it.
func (s *stage) timers(m *instant) []move {
	var all []move
	for i := range m.sagas {
		if c := &m.sagas[i]; !c.record.Status.Ended() && !c.record.DueAt.IsZero() {
			all = append(all, s.deadline(m, c))
		}
	}
	for i := range all {
		all[i].aborts = false
	}
	return all
}

// made is a move that was made.
type made struct {
	label, actor string
	next         *instant
	print        print
	ends         bool // of the move: it may be left out for ever
}

// expand makes every move. None is returned that changes nothing.
func (s *stage) expand(m *instant) ([]made, error) {
	all, err := s.makeMoves(m, s.moves(m))
	if err == nil && !slices.ContainsFunc(all, func(d made) bool { return !d.ends }) {
		var timers []made
		timers, err = s.makeMoves(m, s.timers(m))
		all = slices.DeleteFunc(all, func(abort made) bool { // the same deadline, as an abort
			return slices.ContainsFunc(timers, func(d made) bool { return d.label == abort.label })
		})
		all = append(all, timers...)
	}
	return all, err
}

func (s *stage) makeMoves(m *instant, moves []move) ([]made, error) {
	here := s.fingerprint(m)
	var all []made
	for _, v := range moves {
		next, err := s.makeMove(m, &v)
		if err != nil {
			return nil, err
		}
		if print := s.fingerprint(next); print != here {
			all = append(all, made{v.label, v.actor, next, print, v.aborts})
		}
	}
	return all, nil
}

func (s *stage) makeMove(m *instant, v *move) (*instant, error) {
	next, err := v.perform()
	if err == nil {
		err = s.checkInstant(next)
	}
	if err != nil {
		return nil, &Counterexample{Fault: err.Error(), Script: v.label}
	}
	if v.aborts && next != m {
		next.aborts++
	}
	return next, nil
}

// checkInstant holds an instant to what is promised of every one.
func (s *stage) checkInstant(m *instant) error {
	for i, held := range m.held {
		for j := range held {
			if h := &held[j]; h.State == inbox.HeldParked {
				return fmt.Errorf("%s parked %s: %s", s.players[i].name, m.nameMessage(&h.Message), h.Reason)
			}
		}
	}
	for _, c := range m.sagas {
		if c.record.Status == saga.Parked {
			return fmt.Errorf("%s is parked: %s", c.name, c.record.Reason)
		}
	}
	return nil
}

// checkLast holds an instant to what is promised of the last one: nobody waits.
func (s *stage) checkLast(m *instant) error {
	for i, held := range m.held {
		for j := range held {
			h := &held[j]
			return fmt.Errorf("%s holds %s for ever: %s", s.players[i].name, m.nameMessage(&h.Message), h.Reason)
		}
	}
	for _, c := range m.sagas {
		if !c.record.Status.Ended() {
			return fmt.Errorf("%s never ends: it stands at %q", c.name, c.record.Step)
		}
	}
	for i, d := range m.databases {
		for key, queue := range d.tables.locks.rows {
			return fmt.Errorf("%s has a lock left on %s: %s's", s.players[i].name, key, m.plain(queue[0].Root.String()))
		}
	}
	return nil
}
