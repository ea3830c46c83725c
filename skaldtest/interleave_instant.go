package skaldtest

import (
	"bytes"
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

// instant is all that a scene is in at one point. Its slices are never changed in place.
type instant struct {
	databases []*Backup
	flight    []queue // by name
	held      [][]inbox.Held
	prints    []string // by player: of its database
	sagas     []cast   // the oldest first
	done      uint64   // a bit for each cue
	now       time.Time
	aborts    int
	moves     int         // that have led here
	played    []Operation // in the order of their commits
	print     *print      // its fingerprint, once that was asked for
}

// queue is the messages of one channel and key that are under way to one service, in order.
type queue struct {
	player   int
	channel  string
	key      string
	messages []skald.Message
}

func compareIDs(a, b skald.ID) int { return bytes.Compare(a[:], b[:]) }

// progressed is what matters here of a saga's progress.
type progressed struct {
	Round  int `json:"round"`
	Family struct {
		Parent struct {
			Saga skald.ID `json:"saga"`
		} `json:"parent"`
	} `json:"family"`
}

func progressOf(r *saga.Record) (p progressed) {
	if err := json.Unmarshal(r.Progress, &p); err != nil {
		panic(fmt.Sprintf("skaldtest: progress of saga %q: %v", r.Name, err))
	}
	return p
}

func (s *stage) first() *instant {
	m := &instant{now: began}
	for _, p := range s.players {
		p.at = p.store.Snapshot()
		m.databases, m.held = append(m.databases, p.at), append(m.held, nil)
		m.prints = append(m.prints, "")
	}
	return m
}

// enterInstant puts the databases to an instant.
func (s *stage) enterInstant(m *instant) {
	for _, p := range s.players {
		if p.at != m.databases[p.index] {
			p.at = m.databases[p.index]
			p.store.Restore(p.at)
		}
	}
	s.at, s.record = m, recorder{}
}

// leaveInstant is the instant after one of the players has worked.
func (s *stage) leaveInstant(m *instant, p *player, now time.Time) (*instant, error) {
	next := *m
	next.now, next.moves, next.print = now, m.moves+1, nil
	s.publish(&next, p)
	p.at = p.store.Snapshot()
	next.databases, next.held, next.prints = slices.Clone(m.databases), slices.Clone(m.held), slices.Clone(m.prints)
	next.databases[p.index] = p.at
	var err error
	if next.held[p.index], err = p.store.ListHeld(s.ctx, "", 0, 1000); err != nil {
		return nil, err
	}
	if next.sagas, err = s.readSagas(m, p); err != nil {
		return nil, err
	}
	next.played = slices.Concat(m.played, s.operations(m, &next, p))
	next.prints[p.index] = s.printPlayer(&next, p)
	return &next, nil
}

// operations are those of the transaction that leads from one instant to the next. What starts a saga belongs to it: its state may
// have been read there.
func (s *stage) operations(m, next *instant, p *player) []Operation {
	started := ""
	for i := range next.sagas {
		if c := &next.sagas[i]; c.root == c.name && m.cast(c.id) == nil {
			if started != "" { // several: it belongs to none of them
				started = ""
				break
			}
			started = c.name
		}
	}
	all := make([]Operation, len(s.record.noted))
	for i, n := range s.record.noted {
		o := n.op
		if c := next.cast(n.saga); c != nil {
			o.Saga = c.root
		} else if started != "" {
			o.Saga = started
		}
		o.Item, o.Transaction = p.name+"/"+o.Item, next.moves
		all[i] = o
	}
	return all
}

func (m *instant) cast(id skald.ID) *cast {
	for i := range m.sagas {
		if m.sagas[i].id == id {
			return &m.sagas[i]
		}
	}
	return nil
}

// publish moves what is in the outbox of a service to those that read its channel, as relay and broker do.
func (s *stage) publish(m *instant, p *player) {
	for _, message := range p.store.Outbox() {
		for _, reader := range s.players {
			if !reader.stepper.Reads(message.Channel) {
				continue
			}
			i := slices.IndexFunc(m.flight, func(q queue) bool {
				return q.player == reader.index && q.channel == message.Channel && q.key == message.OrderKey()
			})
			m.flight = slices.Clone(m.flight)
			if i < 0 {
				i = len(m.flight)
				m.flight = append(m.flight, queue{player: reader.index, channel: message.Channel, key: message.OrderKey()})
			}
			m.flight[i].messages = append(slices.Clip(m.flight[i].messages), message)
		}
	}
	p.store.forgetOutbox()
}

// take removes the first message of a queue.
func (m *instant) take(taken queue) {
	flight := slices.Clone(m.flight)
	for i := range flight {
		if q := &flight[i]; q.player == taken.player && q.channel == taken.channel && q.key == taken.key {
			q.messages = q.messages[1:]
		}
	}
	m.flight = slices.DeleteFunc(flight, func(q queue) bool { return len(q.messages) == 0 })
}

// nameMessage names a message the same in every course.
func (m *instant) nameMessage(message *skald.Message) string {
	id, err := skald.ParseID(message.Headers.Get(skald.HeaderSaga))
	c := m.cast(id)
	if err != nil || c == nil {
		return named(message)
	}
	action, step := message.Headers.Get(skald.HeaderAction), message.Headers.Get(skald.HeaderStep)
	if step == "" {
		return message.Type + " of " + c.name
	}
	name := action + " " + strconv.Quote(step) + " of " + c.name
	if attempt := message.Headers.Get(skald.HeaderAttempt); attempt != "1" {
		name += ", attempt " + attempt
	}
	if message.Kind == skald.KindReply {
		name = "the reply to " + name
		if message.Headers.Get(skald.HeaderOutcome) == skald.OutcomeRefused {
			name += " (refused)"
		}
	}
	return name
}

// named is the name of a message that is no saga's. What has no key has an id for one, which is another in each course.
func named(message *skald.Message) string { return strings.TrimSpace(message.Type + " " + message.Key) }

// anyID is an id in a text, and anyTime a time of day with a date, as JSON has it.
var (
	anyID   = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[^"]*"`)
)

// plain is a text without what differs between courses in which the same happens: ids are those of
// sagas, by their names, or of nothing that matters, and whatever has a time may come at any moment.
func (m *instant) plain(text string) string {
	text = anyID.ReplaceAllStringFunc(text, func(found string) string {
		if id, err := skald.ParseID(found); err == nil {
			if c := m.cast(id); c != nil {
				return c.name
			}
		}
		return "?"
	})
	return anyTime.ReplaceAllString(text, "?")
}

// printPlayer tells all that matters of a service's database.
func (s *stage) printPlayer(m *instant, p *player) string {
	tables := &m.databases[p.index].tables
	var lines []string
	for key, row := range tables.barriers.rows {
		lines = append(lines, m.plain(fmt.Sprintf("barrier %s %q %d %s %t", key.Saga, key.Step, key.Attempt, row.barrier.State, row.barrier.Command.IsZero())))
	}
	for key, queue := range tables.locks.rows {
		for _, r := range queue {
			lines = append(lines, m.plain(fmt.Sprintf("lock %s %d %s %d %d %s %q %t", key, r.Place, r.Root, r.Round, r.Uses, r.Name, r.Step, r.Message.IsZero())))
		}
	}
	for key, value := range tables.business.rows {
		lines = append(lines, m.plain(fmt.Sprintf("row %q %q %q", key.table, key.key, value)))
	}
	for _, c := range m.sagas {
		if r := c.record; c.player == p.index {
			lines = append(lines, m.plain(fmt.Sprintf("saga %s %s %q %q %t %s %s", c.name, r.Status, r.Step, r.Reason, r.DueAt.IsZero(), r.State, r.Progress)))
		}
	}
	slices.Sort(lines)
	for i := range m.held[p.index] {
		h := &m.held[p.index][i]
		lines = append(lines, m.plain(fmt.Sprintf("held %s %s %t %s", m.nameMessage(&h.Message), h.State, h.Apart, h.Message.Payload)))
	}
	return strings.Join(lines, "\n")
}

// fingerprint is the same for two instants from which the same can follow, in which the same was done to
// each item, in the same order, and before which each saga began: what anomalies there are depends on nothing else.
func (s *stage) fingerprint(m *instant) print {
	if m.print == nil {
		p := s.takeFingerprint(m)
		m.print = &p
	}
	return *m.print
}

func (s *stage) takeFingerprint(m *instant) print {
	var b strings.Builder
	fmt.Fprintln(&b, m.done, m.aborts)
	lines := make([]string, len(m.flight))
	for i, q := range m.flight {
		var line strings.Builder
		fmt.Fprint(&line, "flight ", q.player, " ", q.channel)
		for j := range q.messages {
			fmt.Fprintf(&line, " %q %s", m.nameMessage(&q.messages[j]), m.plain(string(q.messages[j].Payload)))
		}
		lines[i] = line.String()
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(&b, line)
	}
	for _, p := range m.prints {
		fmt.Fprintln(&b, "player", p)
	}
	for _, c := range m.sagas { // the older one waits, the younger one dies
		fmt.Fprintln(&b, "saga", c.name, c.root)
	}
	operations := slices.Clone(m.played)
	slices.SortStableFunc(operations, func(a, b Operation) int { return cmp.Compare(a.Item, b.Item) })
	for _, o := range operations {
		fmt.Fprintf(&b, "%q\n", []string{o.Item, o.Saga, o.Step, o.Action, strconv.Itoa(o.Round), string(o.Kind), o.Value})
	}
	for _, line := range m.unseen() {
		fmt.Fprintln(&b, line)
	}
	return sha256.Sum256([]byte(b.String()))
}

// unseen tells how often an item was changed before a saga began that has not read it first: a write over such a
// change is no lost update.
func (m *instant) unseen() []string {
	changes := map[string]int{}            // of each item
	begins := map[string]map[string]int{}  // what changes was when each saga began
	first := map[[2]string]OperationKind{} // of a saga on an item, apart from additions
	for i := range m.played {
		o := &m.played[i]
		if begins[o.Saga] == nil {
			begins[o.Saga] = maps.Clone(changes)
		}
		if of := [2]string{o.Saga, o.Item}; o.Kind != OperationAdd && first[of] == "" {
			first[of] = o.Kind
		}
		if o.changes() {
			changes[o.Item]++
		}
	}
	ended := map[string]bool{} // and so what it has not written it never will
	for i := range m.sagas {
		ended[m.sagas[i].name] = m.sagas[i].record.Status.Ended()
	}
	var lines []string
	for name, items := range begins {
		for item, n := range items {
			if kind := first[[2]string{name, item}]; kind == OperationWrite || kind == "" && !ended[name] {
				lines = append(lines, fmt.Sprintf("begun %q %q %d", name, item, n))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// history is what was played until an instant.
func (s *stage) history(m *instant) History {
	h := History{Operations: m.played, Ended: map[string]saga.Status{}}
	for _, o := range m.played {
		h.Ended[o.Saga] = saga.Completed // whoever is no saga
	}
	for _, c := range m.sagas {
		if c.root == c.name {
			delete(h.Ended, c.name)
			if c.record.Status.Ended() {
				h.Ended[c.name] = c.record.Status
			}
		}
	}
	for _, r := range s.rules {
		if !r.holds(Data{s, m}) {
			h.Broken = append(h.Broken, r.name)
		}
	}
	return h
}
