package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// Which moves a scene has, and what is merged of them.

// walk plays every course of a scene by itself, and calls each with its script and its last instant.
func walk(t *testing.T, s *stage, each func(script []string, last *instant)) {
	t.Helper()
	var from func(m *instant, script []string)
	from = func(m *instant, script []string) {
		made, err := s.expand(m)
		if err != nil {
			t.Fatal(err)
		}
		goesOn := false
		for _, next := range made {
			goesOn = goesOn || !next.ends
			from(next.next, append(slices.Clip(script), next.label))
		}
		if !goesOn {
			each(script, m)
		}
	}
	from(s.opening, nil)
}

func openStage(t *testing.T, config Interleaving, set func(s *Scene)) *stage {
	t.Helper()
	s, err := newStage(t.Context(), config.withDefaults(), set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// puts is a local step that writes a note.
func puts(status string) saga.LocalAction[note] {
	return saga.Local(func(_ context.Context, tx *Tx, n *note) error {
		tx.Put("desk", n.Key, status)
		return nil
	})
}

// blindWrites sets a scene of two sagas that write one item without having seen it.
func blindWrites(s *Scene) {
	write := skald.Command[note, struct{}]{Name: "notes.write", Channel: "notes", Key: func(note) string { return "it" }}
	desk, writer := s.Service("desk"), s.Service("writer")
	service.HandleCommand(writer, write, func(_ context.Context, tx *Tx, n note) (struct{}, error) {
		tx.Put("notes", "it", n.Key)
		return struct{}{}, nil
	})
	saved := saga.Register(desk, saga.Definition[note]{
		Name: "note", Compensatable: []saga.Compensatable[note]{{Name: "begin", Do: puts("begun")}},
		Retriable: []saga.Step[note]{{Name: "write", Do: saga.Call(write, note.itself)}},
	})
	for _, key := range []string{"1", "2"} {
		s.Do(key+" is written", "desk", func(ctx context.Context, tx *Tx) error { return saved.Start(ctx, tx, key, note{key}) })
	}
}

// oneAfterTheOther sets a scene of a saga that waits for a word until its deadline, and of one that starts after that.
func oneAfterTheOther(s *Scene) {
	write := skald.Command[note, struct{}]{Name: "notes.write", Channel: "notes", Refusals: []string{"full"}}
	desk, writer := s.Service("desk"), s.Service("writer")
	service.HandleCommand(writer, write, landed)
	wait := saga.Wait(func(*note, note) error { return nil })
	first := saga.Register(desk, saga.Definition[note]{Name: "first", Compensatable: []saga.Compensatable[note]{
		{Name: "begin", Do: puts("pending"), Undo: puts("late")}, {Name: "wait", Do: wait, Deadline: time.Second},
	}})
	second := saga.Register(desk, saga.Definition[note]{Name: "second", Compensatable: []saga.Compensatable[note]{
		{Name: "write", Do: saga.Call(write, note.itself)},
	}})
	s.Do("the first starts", "desk", func(ctx context.Context, tx *Tx) error { return first.Start(ctx, tx, "1", note{"1"}) })
	s.Do("the second starts", "desk", func(ctx context.Context, tx *Tx) error {
		if status, _ := tx.Get("desk", "1"); status != "late" {
			return errors.New("the first is not over yet")
		}
		return second.Start(ctx, tx, "2", note{"2"})
	})
}

// What is merged is counted as if it had not been.
func TestCoursesAreCountedAsIfEachHadBeenPlayedByItself(t *testing.T) {
	for name, set := range map[string]func(s *Scene){
		"an order is cancelled while it is created": func(s *Scene) { cancelWhatIsCreated(newAnomalyShop(s, noMeasure)) },
		"writes of what was never seen":             blindWrites,
		"a deadline that passes by itself":          oneAfterTheOther,
	} {
		t.Run(name, func(t *testing.T) {
			s := openStage(t, Interleaving{}, set)
			courses, lost := 0.0, 0.0
			walk(t, s, func(_ []string, last *instant) {
				courses++
				h := s.history(last)
				if slices.ContainsFunc(h.Anomalies(), func(f Finding) bool { return f.Anomaly == LostUpdate }) {
					lost++
				}
			})
			r, err := interleave(t.Context(), Interleaving{}, set)
			if err != nil || r.Courses != courses || r.Occurred[LostUpdate].Courses != lost {
				t.Errorf("%s, %v; one by one there are %.0f, %.0f of them with a lost update", r, err, courses, lost)
			}
		})
	}
}

func TestEveryCourseCanBePlayedAgain(t *testing.T) {
	s := openStage(t, Interleaving{}, oneAfterTheOther)
	seen := map[string]bool{}
	walk(t, s, func(script []string, last *instant) {
		text := strings.Join(script, "\n")
		if seen[text] {
			t.Errorf("two courses have one script:\n%s", text)
		}
		seen[text] = true
		if again, err := s.follow(script); err != nil || s.fingerprint(again) != s.fingerprint(last) {
			t.Errorf("%s\n%v", text, err)
		}
	})
}

// A command that has waited for a lock may be refused as well; while it waits, nobody is asked.
func TestWhatHasWaitedForALockMayBeRefused(t *testing.T) {
	withoutRaceDetector(t)
	s := openStage(t, Interleaving{}, crossings(2, false))
	seen, after := map[print]bool{}, false
	for next := []*instant{s.opening}; len(next) > 0; next = next[1:] {
		made, err := s.expand(next[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range made {
			refuses := strings.HasSuffix(d.label, ", and refuses: no")
			after = after || refuses && strings.Contains(d.label, " tries again do ")
			if answered := d.next.flight; refuses && len(answered) == 0 {
				t.Fatalf("%s: and nobody has answered", d.label)
			}
			if !seen[d.print] {
				seen[d.print] = true
				next = append(next, d.next)
			}
		}
	}
	if !after {
		t.Error("what has waited for a lock is never refused")
	}
}

// The refusal after which a saga starts again is another than the one that ends it.
func TestEachConsequenceOfARefusalIsPlayed(t *testing.T) {
	for _, refusals := range [][]string{{"changed", "full"}, {"full", "changed"}} {
		labels := ""
		s := openStage(t, Interleaving{}, func(s *Scene) {
			write := skald.Command[note, struct{}]{Name: "notes.write", Channel: "notes", Refusals: refusals}
			desk, writer := s.Service("desk"), s.Service("writer")
			service.HandleCommand(writer, write, landed)
			saved := saga.Register(desk, saga.Definition[note]{Name: "note", Compensatable: []saga.Compensatable[note]{
				{Name: "write", Do: saga.Call(write, note.itself).Again("changed")},
			}})
			s.Do("it is written", "desk", func(ctx context.Context, tx *Tx) error { return saved.Start(ctx, tx, "1", note{"1"}) })
		})
		walk(t, s, func(script []string, _ *instant) { labels += strings.Join(script, "\n") })
		for _, code := range refusals {
			if !strings.Contains(labels, ", and refuses: "+code) {
				t.Errorf("%q: nobody refuses with %q", refusals, code)
			}
		}
	}
}

// What a saga is started with may have been read in the transaction that starts it.
func TestWhatIsReadToStartASagaWasReadByIt(t *testing.T) {
	r, err := interleave(t.Context(), Interleaving{Aborts: -1}, func(s *Scene) {
		desk := s.Service("desk")
		set := skald.Command[deal, struct{}]{Name: "desk.set", Channel: "credits", Key: byAccount}
		service.HandleCommand(desk, set, func(_ context.Context, tx *Tx, d deal) (struct{}, error) {
			tx.Put("credit", d.Account, strconv.FormatInt(d.Seen-d.Amount, 10))
			return struct{}{}, nil
		})
		pay := saga.Register(desk, saga.Definition[deal]{Name: "pay", Retriable: []saga.Step[deal]{{Name: "set", Do: saga.Call(set, deal.itself)}}})
		s.Given("desk", func(tx *Tx) { tx.Put("credit", "ann", "100") })
		for _, key := range []string{"1", "2"} {
			s.Do(key+" is paid", "desk", func(ctx context.Context, tx *Tx) error {
				credit, _ := tx.Get("credit", "ann")
				return pay.Start(ctx, tx, key, deal{Order: key, Account: "ann", Amount: 10, Seen: number(credit)})
			})
		}
	})
	if o := r.Occurred[LostUpdate]; err != nil || o.Saga != "pay 1" && o.Saga != "pay 2" {
		t.Errorf("%s, %v: a lost update of %q", r, err, o.Saga)
	}
}

// Nothing that somebody has asked for is left out in silence.
func TestASceneThatDoesNotTestWhatItSaysIsTold(t *testing.T) {
	tolerant := Interleaving{Aborts: -1, Tolerated: []Anomaly{LostUpdate}}
	for _, c := range []struct {
		name   string
		config Interleaving
		set    func(s *Scene)
		want   string
	}{
		{"something never comes", Interleaving{}, func(s *Scene) {
			notes(landed, false)(s)
			s.Do("it is read", "desk", func(context.Context, *Tx) error { return errors.New("no glasses") })
		}, `"it is read" comes in no interleaving: no glasses`},
		{"something never comes in any sample", Interleaving{MaxStates: -1, Samples: 3}, func(s *Scene) {
			notes(landed, false)(s)
			s.Do("it is read", "desk", func(context.Context, *Tx) error { return errors.New("no glasses") })
		}, `"it is read" comes in no interleaving: no glasses`},
		{"too much comes", Interleaving{}, func(s *Scene) {
			s.Service("desk")
			for i := range 65 {
				s.Do(fmt.Sprint(i), "desk", func(context.Context, *Tx) error { return nil })
			}
		}, "65 things come from outside: at most 64"},
		{"a rule is broken by what is tolerated", tolerant, func(s *Scene) {
			blindWrites(s)
			s.Rule("the first is kept", func(d Data) bool { return d.Get("writer", "notes", "it") == "1" })
		}, `the rule "the first is kept" is broken; there is a lost update, which is tolerated`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := interleave(t.Context(), c.config, c.set); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %v\nwant %s", r, err, c.want)
			}
		})
	}
}
