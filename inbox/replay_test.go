package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/skaldtest"
)

func TestAReplayHasSavepointsAroundSuspectsOnly(t *testing.T) {
	for culprits, savepoints := range map[int]int{
		0: 0, 1: 1, 2: 1 + 2, 3: 1 + 2 + 3,
		5: 1 + 2 + 3 + 30, // from the fourth replay on, everything has one
	} {
		t.Run(fmt.Sprint(culprits), func(t *testing.T) {
			d := newDesk(t, expensive(), false)
			var messages []skald.Message
			var others []string
			for i := range 30 {
				name, does := fmt.Sprint("m", i), "answer"
				switch {
				case i%6 == 5 && i/6 < culprits && i%4 == 1:
					does = "refuse"
				case i%6 == 5 && i/6 < culprits:
					does = "error"
				default:
					others = append(others, name)
				}
				messages = append(messages, message(alone, name, name, does))
			}
			d.deliver(messages...)
			if d.savepoints != savepoints {
				t.Errorf("%d culprits among %d messages took %d savepoints, want %d", culprits, len(messages), d.savepoints, savepoints)
			}
			d.once(others...)
		})
	}
}

func TestAQueuedStatementThatFailsAtTheCommitIsItsHandlers(t *testing.T) {
	for _, does := range []string{"queued error", "queued panic"} {
		t.Run(does, func(t *testing.T) {
			d := newDesk(t, expensive(), false)
			var messages []skald.Message
			var others []string
			for i := range 6 {
				name := fmt.Sprint("m", i)
				messages, others = append(messages, message(alone, name, name, "queued")), append(others, name)
			}
			messages[3] = message(alone, "m3", "culprit", does)
			others = append(others[:3], others[4:]...)
			messages = append(messages, message(alone, "m3", "follower", "queued"))
			d.deliver(messages...)
			d.once(others...)
			held := d.held()
			if len(held) != 2 || !strings.HasPrefix(held[0], "culprit retrying: ") || !strings.HasPrefix(held[1], "follower following") {
				t.Errorf("held: %q, want the culprit and its follower", held)
			}
			if d.savepoints != 0 {
				t.Errorf("%d savepoints, and nothing of this shows before the commit", d.savepoints)
			}
		})
	}
}

func TestWhatFailsAtTheCommitOfItsOwnBatchIsHeldWithoutRunningAgain(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			d.deliver(message(alone, "a", "culprit", "queued error"))
			d.once()
			if held := d.held(); len(held) != 1 || !strings.Contains(held[0], "a constraint says no") || d.runs["culprit"] != 1 {
				t.Errorf("its handler ran %d times; held: %q", d.runs["culprit"], held)
			}
		})
	}
}

// A statement that another handler has queued fails where a savepoint is opened: that one is not to blame.
func TestAQueuedStatementThatFailsAtASavepointIsItsHandlers(t *testing.T) {
	d := newDesk(t, expensive(), false)
	d.deliver(message(alone, "a", "culprit", "queued error"), message(alone, "b", "other", "refuse"), message(together, "c", "third", "answer"))
	d.once("third")
	if held := d.held(); len(held) != 1 || !strings.HasPrefix(held[0], "culprit ") {
		t.Errorf("held: %q, want the culprit", held)
	}
}

// A function's queued statement that fails is the caller's error, and nobody else's.
func TestAFunctionsQueuedStatementFailsTheFunction(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			broken := errors.New("a constraint says no")
			err := d.stepper.Transact(t.Context(), time.Now(), func(_ context.Context, tx skald.Tx) error {
				tx.(*skaldtest.Tx).Put("effects", "function", "I")
				tx.(*skaldtest.Tx).Queue(func() error { return broken })
				return nil
			})
			if !errors.Is(err, broken) {
				t.Errorf("Transact returned %v, want %v", err, broken)
			}
			d.once()
		})
	}
}

func TestWhatAQueuedStatementSendsAtTheCommitIsSent(t *testing.T) {
	store := expensive()
	d := newDesk(t, store, false)
	box, err := outbox.New(store, "desk")
	if err != nil {
		t.Fatal(err)
	}
	m := message(alone, "a", "late", "answer")
	m.Headers.Set(skald.HeaderInReplyTo, "late")
	err = d.stepper.Transact(t.Context(), time.Now(), func(ctx context.Context, tx skald.Tx) error {
		tx.(*skaldtest.Tx).Queue(func() error { return box.Add(ctx, tx, m) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sent := d.sent(); sent["late"] != `"answer"` {
		t.Errorf("sent: %q, want one message", sent)
	}
}

func TestARegistrationHasOneHandler(t *testing.T) {
	consumer, err := inbox.New("desk", skaldtest.NewStore(), skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), inbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	for _, g := range []inbox.Registration{{Channel: channel}, {Channel: channel, Handle: d.handleOne, HandleBatch: d.handleAll}} {
		if consumer.Register(g) == nil {
			t.Error("a registration with no handler, or with two, was taken")
		}
	}
}
