package inbox_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/skaldtest"
)

func TestABatchHandlerGetsWhatWaitsAndSettlesEachByItself(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			messages := []skald.Message{
				message(together, "a", "1", "answer"), message(alone, "b", "2", "answer"), message(together, "c", "3", "keep"),
				message(alongside, "d", "4", "answer"), message(together, "e", "5", "queued"), message(alongside, "", "6", "answer"),
			}
			d.deliver(append(messages, messages[2])...)
			d.called(together, "1 3 5")
			d.called(alongside, "4 6")
			d.once("1", "2", "3", "4", "5", "6")
			sent := d.sent()
			for _, m := range messages {
				want := `success"done"`
				if m.Source == "3" {
					want = `refused{"code":"no","message":"not today"}`
				}
				if got := sent[m.ID.String()]; got != want {
					t.Errorf("message %s was answered %q, want %q", m.Source, got, want)
				}
			}
		})
	}
}

// Faults: 80, 81.
func TestOnlyTheCulpritOfARunIsHeld(t *testing.T) {
	for does, reason := range map[string]string{
		"error": "broken", "panic": "panicked: out of order", "silent": "neither answered nor refused", "undeclared": "undeclared code",
		"unencodable": "unsupported type", "queued error": "a constraint says no", "queued panic": "panicked: out of order",
		"slow": "took longer than", "hang": "it was abandoned", "rollback": "must not roll back",
	} {
		t.Run(does, func(t *testing.T) {
			for name, open := range stores {
				t.Run(name, func(t *testing.T) {
					store := open()
					synctest.Test(t, func(t *testing.T) {
						d := newDesk(t, store, false)
						var messages []skald.Message
						var others []string
						for i := range 9 {
							name := fmt.Sprint("m", i)
							if i == 4 {
								messages = append(messages, message(together, name, "culprit", does))
								continue
							}
							messages, others = append(messages, message(together, name, name, "answer")), append(others, name)
						}
						messages = append(messages, message(together, "m4", "follower", "answer"))
						d.deliver(messages...)
						d.once(others...)
						held := d.held()
						if len(held) != 2 || !strings.HasPrefix(held[0], "culprit retrying: ") || !strings.Contains(held[0], reason) || !strings.HasPrefix(held[1], "follower following: ") {
							t.Errorf("held: %q, want the culprit (%s) and its follower", held, reason)
						}
					})
				})
			}
		})
	}
}

func TestARefusalInARunUndoesItsOwnWritesAlone(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			d.deliver(message(together, "a", "1", "answer"), message(together, "b", "2", "refuse"), message(together, "c", "3", "queued"))
			d.called(together, "1 2 3", "2", "1 3") // together, then without the one to be undone
			d.once("1", "3")
			if held := d.held(); len(held) > 0 {
				t.Errorf("held: %q", held)
			}
		})
	}
}

func TestOrderPerKeyHoldsAcrossRuns(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			d.deliver(
				message(together, "a", "1", "answer"), message(together, "b", "x", "answer"), message(alongside, "a", "2", "queued"),
				message(together, "a", "3", "queued"), message(together, "a", "4", "answer"), message(alone, "a", "5", "answer"),
			)
			d.expect("a", "1 2 3 4 5 ")
			d.called(together, "1 x", "3 4")
		})
	}
}

func TestAMessageThatIsHandledAloneDoesNotOvertakeItsKey(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			d.deliver(message(together, "a", "1", "answer"), message(together, "a", "2", "undeclared"), message(together, "a", "3", "answer"), message(together, "b", "4", "answer"))
			d.expect("a", "1 ")
			d.expect("b", "4 ")
			if held := d.held(); len(held) != 2 || !strings.HasPrefix(held[0], "2 ") || !strings.HasPrefix(held[1], "3 ") {
				t.Errorf("held: %q, want 2 and behind it 3", held)
			}
		})
	}
}

func TestAnUndoInTheBatchOfItsDoSeesWhatBecameOfIt(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			store := open()
			d := newDesk(t, store, false)
			saga := skald.NewID()
			first := barrier(message(together, "a", "do", "answer"), saga, skald.ActionDo)
			undo := barrier(message(alongside, "b", "undo", "answer"), saga, skald.ActionUndo)
			d.deliver(first, undo, message(alongside, "a", "other", "answer"))
			d.once("do", "undo", "other")

			saga = skald.NewID()
			early := barrier(message(alongside, "b", "early undo", "answer"), saga, skald.ActionUndo)
			late := barrier(message(together, "a", "late do", "answer"), saga, skald.ActionDo)
			d.deliver(early, late)
			d.once("do", "undo", "other")
			if got := d.sent()[late.ID.String()]; !strings.Contains(got, skald.RefusedBarred) {
				t.Errorf("a do behind its undo was answered %q", got)
			}

			saga = skald.NewID()
			pivot := barrier(message(together, "c", "pivot", "keep"), saga, skald.ActionDo)
			bar := barrier(message(alongside, "d", "bar", "answer"), saga, skald.ActionBar)
			d.deliver(pivot, bar)
			if got, want := d.sent()[bar.ID.String()], d.sent()[pivot.ID.String()]; got != want {
				t.Errorf("a bar behind its pivot was answered %q, and the pivot %q", got, want)
			}
		})
	}
}

func TestHeldMessagesThatAreDueAreHandledTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, expensive(), false)
		later := time.Now().Add(time.Hour).Format(time.RFC3339)
		d.deliver(message(together, "a", "1", later), message(together, "b", "2", later), message(together, "a", "3", "answer"))
		d.calls = map[string][]string{}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
		d.retry()
		d.called(together, "1 2 3")
		d.once("1", "2", "3")
		d.expect("a", "1 3 ")
		if held := d.held(); len(held) > 0 {
			t.Errorf("held: %q", held)
		}
	})
}

// Whatever waits in a batch, and whatever its handlers do: handled together it comes to the same
// as handled one by one.
func TestHandledTogetherIsAsHandledOneByOne(t *testing.T) {
	const seeds = 300
	apart := 0
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			store := skaldtest.NewStore()
			if random.IntN(2) == 0 {
				store = expensive()
			}
			batched, plain := newDesk(t, store, false), newDesk(t, skaldtest.NewStore(), true)
			sagas := []skald.ID{skald.NewID(), skald.NewID(), skald.NewID()}
			var history []skald.Message
			for round := range 4 {
				messages := randomMessages(random, round, sagas)
				if len(history) > 0 && random.IntN(2) == 0 {
					messages = append(messages, history[random.IntN(len(history))])
				}
				history = append(history, messages...)
				for _, d := range []*desk{batched, plain} {
					d.deliver(messages...)
					d.retry()
				}
				compare(t, seed, batched, plain, history)
				time.Sleep(2 * time.Minute) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
			}
			if len(batched.calls[together]) < len(plain.calls[together]) {
				apart++
			}
		})
	}
	if apart < seeds/4 {
		t.Errorf("in %d of %d seeds only messages were handled together", apart, seeds)
	}
}

func randomMessages(random *rand.Rand, round int, sagas []skald.ID) []skald.Message {
	var messages []skald.Message
	what := []string{
		"answer", "answer", "answer", "answer", "queued", "refuse", "keep", "silent", "undeclared", "error", "panic", "queued error", "rollback",
		time.Now().Add(3 * time.Minute).Format(time.RFC3339),
	}
	troubles := random.IntN(3)
	for i := range random.IntN(12) + 1 {
		does := what[random.IntN(5)]
		if troubles > 0 && random.IntN(4) == 0 {
			troubles--
			does = what[random.IntN(len(what))]
		}
		kind := []string{together, together, alongside, alone}[random.IntN(4)]
		m := message(kind, string(rune('a'+random.IntN(5))), fmt.Sprintf("%d.%d", round, i), does)
		if random.IntN(3) == 0 {
			m = barrier(m, sagas[random.IntN(len(sagas))], []string{skald.ActionDo, skald.ActionUndo, skald.ActionBar}[random.IntN(3)])
		}
		messages = append(messages, m)
	}
	return messages
}

func compare(t *testing.T, seed uint64, batched, plain *desk, history []skald.Message) {
	t.Helper()
	for _, table := range []string{"seen", "effects"} {
		got, want := batched.store.List(table), plain.store.List(table)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d: %s is %v, and one by one %v", seed, table, got, want)
		}
	}
	byKey := func(d *desk) (states []string) {
		for _, line := range d.held() {
			name, _, _ := strings.Cut(line, ":")
			states = append(states, name)
		}
		slices.Sort(states) // across keys the order is free
		return states
	}
	if got, want := byKey(batched), byKey(plain); !slices.Equal(got, want) {
		t.Fatalf("seed %d: held is %q, and one by one %q", seed, got, want)
	}
	got, want := batched.sent(), plain.sent()
	for _, m := range history {
		if id := m.ID.String(); got[id] != want[id] {
			t.Fatalf("seed %d: %s was answered %q, and one by one %q", seed, m.Source, got[id], want[id])
		}
	}
}
