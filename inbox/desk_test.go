package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
)

// The commands of a desk: two that are handled together, and one that is handled alone.
const (
	together  = "desk.together"
	alongside = "desk.alongside"
	alone     = "desk.alone"

	channel = "desk.commands"
	replies = "desk.replies"
)

// desk is a consumer whose batches a test makes itself. A message's payload says what its
// handler does: see [desk.handle].
type desk struct {
	t          *testing.T
	store      *skaldtest.Store
	stepper    *inbox.Stepper
	position   uint64
	savepoints int
	calls      map[string][]string // by type: the names of the messages of each call
	runs       map[string]int      // by name: how often its handler ran
	over       chan struct{}       // closed at the end of the test
}

// newDesk opens a desk on a store. When plain, nothing is handled together.
func newDesk(t *testing.T, store *skaldtest.Store, plain bool) *desk {
	t.Helper()
	d := &desk{t: t, store: store, calls: map[string][]string{}, runs: map[string]int{}, over: make(chan struct{})}
	consumer, err := inbox.New("desk", counting{store, d}, store, skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), inbox.Config{
		Logger: slog.New(slog.DiscardHandler), LeaseTTL: 24 * time.Hour, Backoff: func(int) time.Duration { return time.Minute },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{together, alongside, alone} {
		g := inbox.Registration{Channel: channel, Type: kind, Version: 1, Declared: func(code string) bool { return code == "no" }}
		if plain || kind == alone {
			g.Handle = d.handleOne
		} else {
			g.HandleBatch = d.handleAll
		}
		if err := consumer.Register(g); err != nil {
			t.Fatal(err)
		}
	}
	if d.stepper, err = consumer.Stepper(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(d.over); d.stepper.Close() })
	return d
}

func (d *desk) handleOne(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
	d.calls[m.Type] = append(d.calls[m.Type], m.Source)
	var answer any
	failed := errors.New("silent")
	if err := d.handle(ctx, tx.(*skaldtest.Tx), m, func(a any, err error) { answer, failed = a, err }); err != nil {
		return nil, err
	}
	if string(m.Payload) == `"queued"` {
		return "done", nil
	}
	return answer, failed
}

func (d *desk) handleAll(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
	var names []string
	for _, r := range requests {
		names = append(names, r.Message.Source)
	}
	kind := requests[0].Message.Type
	d.calls[kind] = append(d.calls[kind], strings.Join(names, " "))
	for _, r := range requests {
		if err := d.handle(ctx, tx.(*skaldtest.Tx), r.Message, r.Settle); err != nil {
			return err
		}
	}
	return nil
}

// handle writes one line about a message, and then does what it says.
func (d *desk) handle(ctx context.Context, tx *skaldtest.Tx, m *skald.Message, settle func(any, error)) error {
	d.runs[m.Source]++
	write := func() {
		seen, _ := tx.Get("seen", m.Key)
		tx.Put("seen", m.Key, seen+m.Source+" ")
		n, _ := tx.Get("effects", m.Source)
		tx.Put("effects", m.Source, n+"I")
	}
	switch does := strings.Trim(string(m.Payload), `"`); does {
	case "queued":
		tx.Queue(func() error { write(); settle("done", nil); return nil })
		return nil
	case "queued error":
		tx.Queue(func() error { write(); return errors.New("a constraint says no") })
		settle("done", nil)
		return nil
	case "queued panic":
		tx.Queue(func() error { write(); panic("out of order") })
		settle("done", nil)
		return nil
	default:
		if err := tx.Flush(); err != nil { // as a store does before a statement that is executed at once
			return err
		}
		write()
		return d.behave(ctx, tx, does, settle)
	}
}

func (d *desk) behave(ctx context.Context, tx *skaldtest.Tx, does string, settle func(any, error)) error {
	switch does {
	case "answer":
		settle("done", nil)
	case "refuse":
		settle(nil, skald.Refuse("no", "not today"))
	case "keep":
		settle(nil, skald.Refuse("no", "not today").Keep())
	case "undeclared":
		settle(nil, skald.Refuse("never", "nobody knows this code"))
	case "unencodable":
		settle(func() {}, nil)
	case "silent":
	case "error":
		return errors.New("broken")
	case "panic":
		panic("out of order")
	case "rollback":
		settle("done", nil)
		_ = tx.Rollback()
	case "slow":
		<-ctx.Done()
		return ctx.Err()
	case "hang":
		<-d.over
	default: // an error until the moment that it names
		at, err := time.Parse(time.RFC3339, does)
		if err != nil || time.Now().Before(at) {
			return errors.Join(errors.New("not yet"), err)
		}
		settle("done", nil)
	}
	return nil
}

// message makes a command. Its source is its name.
func message(kind, key, name, does string) skald.Message {
	m := skald.Message{ID: skald.NewID(), Kind: skald.KindCommand, Channel: channel, Key: key, Type: kind, Version: 1, Source: name, Payload: []byte(strconv.Quote(does))}
	m.Headers.Set(skald.HeaderReplyTo, replies)
	return m
}

// barrier makes a message one of a saga's.
func barrier(m skald.Message, saga skald.ID, action string) skald.Message {
	m.Headers.Set(skald.HeaderSaga, saga.String())
	m.Headers.Set(skald.HeaderStep, "reserve")
	m.Headers.Set(skald.HeaderAction, action)
	m.Headers.Set(skald.HeaderAttempt, "1")
	m.Headers.Set(skald.HeaderBarrier, "1")
	return m
}

// deliver hands messages over in one batch.
func (d *desk) deliver(messages ...skald.Message) {
	d.t.Helper()
	var deliveries []inbox.Delivery
	for _, m := range messages {
		d.position++
		deliveries = append(deliveries, inbox.Delivery{Message: m, Position: inbox.Position{Incarnation: "1", Sequence: d.position, Last: m.ID}})
	}
	if err := d.stepper.Deliver(d.t.Context(), time.Now(), deliveries...); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) retry() {
	d.t.Helper()
	if err := d.stepper.RetryHeld(d.t.Context(), time.Now()); err != nil {
		d.t.Fatal(err)
	}
}

// held says what is held, in order: name, state and reason.
func (d *desk) held() []string {
	d.t.Helper()
	held, err := d.store.ListHeld(d.t.Context(), "", 0, 1000)
	if err != nil {
		d.t.Fatal(err)
	}
	var lines []string
	for _, h := range held {
		lines = append(lines, fmt.Sprintf("%s %s: %s", h.Message.Source, h.State, h.Reason))
	}
	return lines
}

// sent returns what was sent: the outcome by the command's id, or a message's type.
func (d *desk) sent() map[string]string {
	d.t.Helper()
	ctx, marker := d.t.Context(), message(alone, "", "marker", "")
	tx, err := d.store.BeginTx(ctx)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := errors.Join(d.store.AddMessages(ctx, tx, []skald.Message{marker}), tx.Commit()); err != nil {
		d.t.Fatal(err)
	}
	cursor, err := d.store.OpenOutbox(ctx, relay.Position{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = cursor.Close() }()
	sent := map[string]string{}
	for {
		records, err := cursor.Next(ctx, 1000)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, r := range records {
			if r.Message.ID == marker.ID {
				return sent
			}
			what := r.Message.Headers.Get(skald.HeaderInReplyTo)
			sent[what] += r.Message.Headers.Get(skald.HeaderOutcome) + string(r.Message.Payload)
		}
	}
}

// once checks that each of these took effect once, and nothing else did.
func (d *desk) once(names ...string) {
	d.t.Helper()
	effects := d.store.List("effects")
	for _, name := range names {
		if effects[name] != "I" {
			d.t.Errorf("%s took effect %d times, want once", name, len(effects[name]))
		}
	}
	for name := range effects {
		if !slices.Contains(names, name) {
			d.t.Errorf("%s took effect", name)
		}
	}
}

func (d *desk) expect(key, want string) {
	d.t.Helper()
	if got, _ := d.store.Get("seen", key); got != want {
		d.t.Errorf("key %s has seen %q, want %q", key, got, want)
	}
}

func (d *desk) called(kind string, want ...string) {
	d.t.Helper()
	if got := d.calls[kind]; !slices.Equal(got, want) {
		d.t.Errorf("the handler of %s was called with %q, want %q", kind, got, want)
	}
}

// counting counts the savepoints.
type counting struct {
	*skaldtest.Store
	desk *desk
}

func (c counting) Begin(ctx context.Context) (inbox.Batch, error) {
	b, err := c.Store.Begin(ctx)
	return countingBatch{b, c.desk}, err
}

type countingBatch struct {
	inbox.Batch
	desk *desk
}

func (b countingBatch) Savepoint(ctx context.Context) error {
	b.desk.savepoints++
	return b.Batch.Savepoint(ctx)
}

// stores are one where savepoints cost nothing, and one where they do.
var stores = map[string]func() *skaldtest.Store{"cheap": skaldtest.NewStore, "expensive": expensive}

func expensive() *skaldtest.Store {
	store := skaldtest.NewStore()
	store.ExpensiveSavepoints()
	return store
}
