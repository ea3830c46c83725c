package skaldtest

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
)

// moment is all that an exploration is in at one point: databases, messages under way, the
// clock. Its slices are never changed in place.
type moment struct {
	databases []*Backup
	flight    []lineup   // by name
	delivered [][]flying // by node: what it has handled, or holds
	effects   []effect   // in the order in which they were committed, over all services
	landed    []int      // by node: how many of the effects are its own
	held      [][]inbox.Held
	prints    []string       // by node: of its database
	sagas     []*saga.Record // in the order of their starts: the explored one first; none before it starts
	now       time.Time
	late      bool // a late duplicate was delivered
	cancelled bool
	failures  int // attempts that failed in this course
}

// lineup is the messages of one channel and key that are under way, in order.
type lineup struct {
	channel, name string
	messages      []flying
}

// flying is a message under way; its name is the same in every course of the saga.
type flying struct {
	message skald.Message
	name    string
}

// effect is what one call did.
type effect struct {
	call
	channel, key string // of its command; empty when it is local
	message      skald.ID
}

func (e effect) String() string { return e.action + " " + strconv.Quote(e.step) }

func (e effect) encode() string {
	return strings.Join([]string{e.step, e.action, e.channel, e.key, e.message.String()}, "\n")
}

func decodeEffect(s string) effect {
	parts := strings.Split(s, "\n")
	id, _ := skald.ParseID(parts[4])
	return effect{call: call{step: parts[0], action: parts[1], local: parts[2] == ""}, channel: parts[2], key: parts[3], message: id}
}

func fly(m skald.Message) flying {
	name := m.Headers.Get(skald.HeaderAction) + " " + strconv.Quote(m.Headers.Get(skald.HeaderStep))
	if attempt := m.Headers.Get(skald.HeaderAttempt); attempt != "1" {
		name += ", attempt " + attempt
	}
	if m.Kind == skald.KindReply {
		name = "the reply to " + name
		if m.Headers.Get(skald.HeaderOutcome) == skald.OutcomeRefused {
			name += " (refused)"
		}
	}
	return flying{m, name}
}

// fly is fly of a message that the saga may tell from others of its kind: a refusal at which it starts again is another than
// one that ends it.
func (w *world) fly(m skald.Message) flying {
	f := fly(m)
	var refusal skald.Refusal
	again := w.step(m.Headers.Get(skald.HeaderStep)).Do.Again
	if len(again) > 0 && m.Kind == skald.KindReply && m.Headers.Get(skald.HeaderOutcome) == skald.OutcomeRefused &&
		json.Unmarshal(m.Payload, &refusal) == nil && slices.Contains(again, refusal.Code) {
		f.name += " (to start again)"
	}
	return f
}

// began is when the virtual clock starts: later than what the stores' own clock says, so that
// what they make due at once is due.
var began = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// first is the moment before the saga starts.
func (w *world) first() *moment {
	m := &moment{
		databases: make([]*Backup, len(w.nodes)), delivered: make([][]flying, len(w.nodes)),
		landed: make([]int, len(w.nodes)), held: make([][]inbox.Held, len(w.nodes)), prints: make([]string, len(w.nodes)), now: began,
	}
	for _, n := range w.nodes {
		n.at = n.store.Snapshot()
		m.databases[n.index] = n.at
	}
	return m
}

// enter puts the databases to the moment.
func (w *world) enter(m *moment) {
	for _, n := range w.nodes {
		if n.at != m.databases[n.index] {
			n.at = m.databases[n.index]
			n.store.Restore(n.at)
		}
	}
	w.called = nil
}

// leave is the moment after an action.
func (w *world) leave(m *moment, a action) (*moment, error) {
	n, next := a.node, *m
	next.now, next.late, next.cancelled = a.now, m.late || a.late, m.cancelled || a.cancels
	w.publish(&next, n)
	n.at = n.store.Snapshot()
	next.databases, next.landed = slices.Clone(m.databases), slices.Clone(m.landed)
	next.held = slices.Clone(m.held)
	next.databases[n.index] = n.at
	rows := n.store.List(effectsTable)
	for _, key := range slices.Sorted(maps.Keys(rows))[min(m.landed[n.index], len(rows)):] {
		next.effects = append(slices.Clip(next.effects), decodeEffect(rows[key]))
	}
	next.landed[n.index] = len(rows)
	var err error
	if next.held[n.index], err = n.store.ListHeld(w.ctx, "", 0, 1000); err != nil {
		return nil, err
	}
	if n == w.home {
		next.sagas, err = w.readSagas()
	}
	next.prints = slices.Clone(m.prints)
	next.prints[n.index] = w.printNode(&next, n.index)
	return &next, err
}

// fail counts an attempt that was made to fail.
func (m *moment) fail(chosen choice) {
	if chosen.outcome == fails {
		m.failures++
	}
}

func (w *world) readSagas() ([]*saga.Record, error) {
	records, err := w.home.store.ListSagas(w.ctx, "", skald.ID{}, 1000)
	sagas := make([]*saga.Record, len(records))
	for i := range records {
		sagas[i] = &records[i]
	}
	return sagas, err
}

// publish moves what the batch has put into the outbox to what is under way, as the relay does.
func (w *world) publish(m *moment, n *node) {
	for _, message := range n.store.Outbox() {
		f := w.fly(message)
		i := slices.IndexFunc(m.flight, func(l lineup) bool {
			return l.channel == message.Channel && l.messages[0].message.OrderKey() == message.OrderKey()
		})
		if i >= 0 {
			m.flight = slices.Clone(m.flight)
			m.flight[i].messages = append(slices.Clip(m.flight[i].messages), f)
			continue
		}
		m.flight = append(slices.Clip(m.flight), lineup{message.Channel, message.Channel + " " + f.name, []flying{f}})
		slices.SortFunc(m.flight, func(a, b lineup) int { return cmp.Compare(a.name, b.name) })
	}
	n.store.forgetOutbox()
}

// forgetOutbox removes what was published.
func (s *Store) forgetOutbox() {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.tables.outbox = table[uint64, outboxRow]{}
}

// take moves messages from what is under way to what the service was given.
func (m *moment) take(n *node, messages []flying) {
	had := slices.Clone(m.delivered[n.index])
	for _, f := range messages {
		if !slices.ContainsFunc(had, func(h flying) bool { return h.message.ID == f.message.ID }) {
			had = append(had, f)
		}
	}
	slices.SortStableFunc(had, func(a, b flying) int { return cmp.Compare(a.name, b.name) })
	m.delivered = slices.Clone(m.delivered)
	m.delivered[n.index] = had
	taken := slices.Clone(messages)
	var rest []lineup
	for _, l := range m.flight {
		var left []flying
		for _, f := range l.messages {
			i := slices.IndexFunc(taken, func(t flying) bool { return t.message.ID == f.message.ID })
			if i >= 0 {
				taken = slices.Delete(taken, i, i+1) // a duplicate stays
				continue
			}
			left = append(left, f)
		}
		if len(left) > 0 {
			rest = append(rest, lineup{l.channel, l.channel + " " + left[0].name, left})
		}
	}
	slices.SortFunc(rest, func(a, b lineup) int { return cmp.Compare(a.name, b.name) })
	m.flight = rest
}

type print [sha256.Size]byte

// varying is what differs in a saga's progress from one course to the next: times and ids.
var varying = regexp.MustCompile(`"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[^"]*|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"`)

// fingerprint is the same for two moments from which the same can follow. Ids and times are left
// out: whatever has a deadline may reach it at any moment.
func (w *world) fingerprint(m *moment) print {
	b := make([]byte, 0, 4<<10)
	line := func(parts ...string) {
		for _, part := range parts {
			b = append(append(b, part...), 0)
		}
		b = append(b, '\n')
	}
	for _, l := range m.flight {
		line("flight", l.channel)
		for _, f := range l.messages {
			line(f.name)
		}
	}
	for i := range w.nodes {
		line("node", m.prints[i])
		for _, f := range m.delivered[i] {
			line(f.name)
		}
	}
	for _, e := range w.ordered(m.effects) {
		line(e.action, e.step)
	}
	line("late", strconv.FormatBool(m.late), strconv.FormatBool(m.cancelled))
	if w.config.failures > 0 {
		line("failures", strconv.Itoa(m.failures))
	}
	return sha256.Sum256(b)
}

// ordered puts together the effects whose order matters: those of one branch, and those outside of
// groups, of each saga.
func (w *world) ordered(effects []effect) []effect {
	effects = slices.Clone(effects)
	slices.SortStableFunc(effects, func(a, b effect) int {
		one, other := w.step(a.step), w.step(b.step)
		return cmp.Or(cmp.Compare(one.of.Name, other.of.Name), cmp.Compare(one.Group, other.Group), cmp.Compare(one.Branch, other.Branch))
	})
	return effects
}

// printNode tells all that matters of a service's database.
func (w *world) printNode(m *moment, i int) string {
	tables := &m.databases[i].tables
	var lines []string
	for key, row := range tables.barriers.rows {
		lines = append(lines, fmt.Sprintf("barrier %q %d %s %t", key.Step, key.Attempt, row.barrier.State, row.barrier.Command.IsZero()))
	}
	for key, queue := range tables.locks.rows {
		for _, r := range queue {
			owner := slices.IndexFunc(m.sagas, func(s *saga.Record) bool { return s.ID == r.Root })
			lines = append(lines, fmt.Sprintf("lock %s %d %d %d %d %s %q %t", key, r.Place, owner, r.Round, r.Uses, r.Name, r.Step, r.Message.IsZero()))
		}
	}
	handled := 0
	for key := range tables.handled.rows {
		if key.group == w.nodes[i].name {
			handled++
		}
	}
	for key, value := range tables.business.rows {
		if key.table != effectsTable {
			lines = append(lines, fmt.Sprintf("row %q %q %q", key.table, key.key, value))
		}
	}
	slices.Sort(lines)
	lines = append(lines, "handled "+strconv.Itoa(handled))
	for _, h := range m.held[i] {
		lines = append(lines, fmt.Sprintf("held %s %s %d %t", fly(h.Message).name, h.State, h.Attempts, h.Apart))
	}
	if i == w.home.index {
		for _, r := range m.sagas {
			progress := varying.ReplaceAllLiteral(r.Progress, nil)
			lines = append(lines, fmt.Sprintf("saga %s %s %q %q %t %s %s", r.Name, r.Status, r.Step, r.Reason, r.DueAt.IsZero(), r.State, progress))
		}
	}
	return strings.Join(lines, "\n")
}
