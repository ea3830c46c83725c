package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/skaldtest"
)

// reactor is a group that does something at each "made", here or there, and undoes it at each
// "unmade", which comes elsewhere as well. Its batches are the test's.
type reactor struct {
	t        *testing.T
	store    *skaldtest.Store
	stepper  *inbox.Stepper
	instance skald.ID
	now      time.Time
	position uint64
	fails    bool
	hops     int // of what is delivered
}

func newReactor(t *testing.T, batches bool) *reactor {
	t.Helper()
	r := &reactor{t: t, store: skaldtest.NewStore(), instance: skald.NewID(), now: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	consumer, err := inbox.New("reactor", r.store, r.store, skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), inbox.Config{
		Logger: slog.New(slog.DiscardHandler), LeaseTTL: 24 * time.Hour, Backoff: func(int) time.Duration { return time.Minute },
	})
	if err != nil {
		t.Fatal(err)
	}
	unrelated := inbox.Registration{Channel: "elsewhere", Type: "other", Version: 1, Handle: func(context.Context, skald.Tx, *skald.Message) (any, error) {
		return nil, errors.New("not now")
	}}
	if err := consumer.Register(unrelated); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"here", "there", "elsewhere"} {
		for kind, action := range map[string]string{"made": skald.ActionDo, "unmade": skald.ActionUndo} {
			g := inbox.Registration{
				Channel: where, Type: kind, Version: 1, MaxHops: map[string]int{"there": 2}[where],
				Reaction: &inbox.Reaction{Choreography: "making", Step: "make", Action: action, Skipped: r.skipped},
			}
			if where == "elsewhere" && kind == "made" {
				continue
			}
			if batches {
				g.HandleBatch = r.handleAll
			} else {
				g.Handle = r.handle
			}
			if err := consumer.Register(g); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.stepper, err = consumer.Stepper(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stepper.Close)
	return r
}

func (r *reactor) note(tx skald.Tx, what string) {
	before, _ := tx.(*skaldtest.Tx).Get("notes", "all")
	tx.(*skaldtest.Tx).Put("notes", "all", strings.TrimSpace(before+" "+what))
}

func (r *reactor) handle(_ context.Context, tx skald.Tx, m *skald.Message) (any, error) {
	if r.note(tx, m.Type); r.fails && m.Type == "made" {
		return nil, errors.New("not now")
	}
	return nil, nil
}

func (r *reactor) handleAll(ctx context.Context, tx skald.Tx, requests []*inbox.Request) error {
	for _, q := range requests {
		q.Settle(r.handle(ctx, tx, q.Message))
	}
	return nil
}

func (r *reactor) skipped(_ context.Context, tx skald.Tx, m *skald.Message) (any, error) {
	r.note(tx, "-"+m.Type)
	return nil, nil
}

// deliver delivers events, "type@channel", in batches that are told apart by "|".
func (r *reactor) deliver(script string) {
	r.t.Helper()
	for batch := range strings.SplitSeq(script, "|") {
		var deliveries []inbox.Delivery
		for event := range strings.FieldsSeq(batch) {
			kind, where, _ := strings.Cut(event, "@")
			m := skald.Message{ID: skald.NewID(), Kind: skald.KindEvent, Channel: where, Key: "k", Type: kind, Version: 1, Source: "x", Time: r.now, Payload: []byte("{}")}
			m.Correlate(skald.Correlation{ID: r.instance, Choreography: "making", Hops: r.hops})
			r.position++
			deliveries = append(deliveries, inbox.Delivery{Message: m, Position: inbox.Position{Sequence: r.position, Last: m.ID}})
		}
		if err := r.stepper.Deliver(r.t.Context(), r.now, deliveries...); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *reactor) notes() string {
	notes, _ := r.store.Get("notes", "all")
	return notes
}

// Faults: 56, 57.
func TestDoAndUndoOfAReactionMeetInEveryOrder(t *testing.T) {
	for script, want := range map[string]string{
		"made@here | unmade@there":                "made unmade",
		"made@here unmade@there":                  "made unmade",
		"made@here unmade@here":                   "made unmade",
		"unmade@there | made@here":                "-unmade -made",
		"unmade@there made@here":                  "-unmade -made",
		"unmade@here made@here":                   "-unmade -made",
		"made@here unmade@there unmade@here":      "made unmade -unmade",
		"made@here | unmade@there | unmade@here":  "made unmade -unmade",
		"made@here made@there unmade@here":        "made made unmade",
		"made@here | unmade@here | made@there":    "made unmade -made",
		"made@here unmade@here made@there":        "made unmade -made",
		"unmade@here unmade@there made@here":      "-unmade -unmade -made",
		"made@there | made@here unmade@here":      "made made unmade",
		"unmade@here | made@here | made@there":    "-unmade -made -made",
		"unmade@here | unmade@here | made@there ": "-unmade -unmade -made",
	} {
		for _, batches := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, handled in batches: %t", script, batches), func(t *testing.T) {
				r := newReactor(t, batches)
				if r.deliver(script); r.notes() != want {
					t.Errorf("%q, want %q", r.notes(), want)
				}
			})
		}
	}
}

// Faults: 56, 57, 58.
func TestAnUndoOvertakesTheDoThatIsHeld(t *testing.T) {
	for script, want := range map[string]string{
		"made@here | unmade@here":  "-unmade -made", // behind its do, it would wait for ever
		"made@here unmade@here":    "-unmade -made",
		"made@here | unmade@there": "-unmade -made",
		"made@here unmade@there":   "-unmade -made",
	} {
		for _, batches := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, handled in batches: %t", script, batches), func(t *testing.T) {
				r := newReactor(t, batches)
				r.fails = true
				r.deliver(script)
				r.now = r.now.Add(time.Second) // long before the do would be tried again
				if err := r.stepper.RetryHeld(t.Context(), r.now); err != nil {
					t.Fatal(err)
				}
				held, err := r.store.ListHeld(t.Context(), "", 0, 10)
				if err != nil || len(held) > 0 || r.notes() != want {
					t.Errorf("%q, want %q; held: %+v, %v", r.notes(), want, held, err)
				}
			})
		}
	}
}

func TestAnUndoOnAnotherChannelKeepsItsPlaceThere(t *testing.T) {
	r := newReactor(t, false)
	r.fails = true
	r.deliver("made@here | other@elsewhere | unmade@elsewhere")
	held, err := r.store.ListHeld(t.Context(), "", 0, 10)
	if err != nil || len(held) != 3 || held[2].State != inbox.HeldFollowing || r.notes() != "" {
		t.Errorf("%q; held: %+v, %v", r.notes(), held, err)
	}
}

func TestAnUndoDoesNotOvertakeWhatItDoesNotUndo(t *testing.T) {
	r := newReactor(t, false)
	r.fails = true
	r.deliver("made@here")
	r.instance = skald.NewID()
	r.deliver("unmade@here")
	held, err := r.store.ListHeld(t.Context(), "", 0, 10)
	if err != nil || len(held) != 2 || held[1].State != inbox.HeldFollowing || r.notes() != "" {
		t.Errorf("%q; held: %+v, %v", r.notes(), held, err)
	}
}

func TestAReactionNeedsAChoreographyAndAType(t *testing.T) {
	consumer, err := inbox.New("g", skaldtest.NewStore(), skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), inbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	handle := func(context.Context, skald.Tx, *skald.Message) (any, error) { return nil, nil }
	for _, g := range []inbox.Registration{
		{Channel: "c", Version: 1, Handle: handle, Reaction: &inbox.Reaction{Choreography: "x"}},
		{Channel: "c", Type: "t", Version: 1, Handle: handle, Reaction: &inbox.Reaction{}},
	} {
		if err := consumer.Register(g); err == nil {
			t.Errorf("registered %+v", g)
		}
	}
}

func TestARegistrationHasAHopLimitOfItsOwn(t *testing.T) {
	r := newReactor(t, false)
	r.hops = 2
	r.deliver("made@there")
	r.hops = 3
	r.deliver("made@there | made@here")
	held, err := r.store.ListHeld(t.Context(), "", 0, 10)
	if err != nil || len(held) != 1 || held[0].State != inbox.HeldParked || held[0].Message.Channel != "there" || r.notes() != "made made" {
		t.Fatalf("%q; held: %+v, %v", r.notes(), held, err)
	}
	want := fmt.Sprintf(`3 events led to event "made" of service "x" of choreography "making" (%s), and the limit is 2`, r.instance)
	if !strings.Contains(held[0].Reason, want) {
		t.Errorf("%s\nwant: %s", held[0].Reason, want)
	}
}
