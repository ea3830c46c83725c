package skaldtest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

func play(t *testing.T, config Interleaving, scene func(*anomalyShop), m countermeasure) (Interleaved, error) {
	t.Helper()
	return interleave(t.Context(), config, func(s *Scene) { scene(newAnomalyShop(s, m)) })
}

func TestAScriptThatWasPrintedShowsItsAnomalyAgain(t *testing.T) {
	for _, scene := range anomalyScenes()[2:4] {
		r, err := play(t, Interleaving{}, scene.set, noMeasure)
		if err != nil {
			t.Fatal(err)
		}
		set := func(s *Scene) { scene.set(newAnomalyShop(s, noMeasure)) }
		findings, err := replayInterleaving(t.Context(), Interleaving{}, r.Occurred[scene.anomaly].Script, set)
		if err != nil || !slices.ContainsFunc(findings, func(f Finding) bool { return f.Anomaly == scene.anomaly }) {
			t.Errorf("%s: %v, %v", scene.name, findings, err)
		}
		if text := r.Occurred[scene.anomaly].String(); !strings.Contains(text, string(scene.anomaly)) || !strings.Contains(text, "\n* ") {
			t.Errorf("what is printed does not mark anything:\n%s", text)
		}
	}
}

// The same seed draws the same courses.
func TestSamplesFindWhatEveryInterleavingFinds(t *testing.T) {
	config := Interleaving{MaxStates: -1, Samples: 60, Seed: 7}
	for _, scene := range anomalyScenes()[2:4] {
		one, err := play(t, config, scene.set, noMeasure)
		if err != nil || !one.Sampled || one.Occurred[scene.anomaly].Courses == 0 {
			t.Fatalf("%s: %s, %v", scene.name, one, err)
		}
		other, err := play(t, config, scene.set, noMeasure)
		if err != nil || one.Occurred[scene.anomaly].Courses != other.Occurred[scene.anomaly].Courses || one.Occurred[scene.anomaly].Script != other.Occurred[scene.anomaly].Script {
			t.Errorf("%s: %s, and with the same seed %s, %v", scene.name, one, other, err)
		}
	}
}

// Create, cancel, revise and a change of credit on two hot orders: all anomalies but write skew, which needs a rule, without a
// countermeasure; none with locks.
func TestHotOrdersAreKeptFromEachOtherByLocks(t *testing.T) {
	config := Interleaving{MaxStates: -1, Samples: 200, Aborts: 2}
	if raceDetector {
		config.Samples = 10
	}
	r, err := play(t, config, hotOrders, noMeasure)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("without locks: ", r)
	if share := r.Occurred[LostUpdate].Share; share <= 0.5 && !raceDetector {
		t.Errorf("without locks %.0f %% have a lost update; the guide says that most have", 100*share)
	}
	for _, a := range []Anomaly{DirtyRead, LostUpdate, FuzzyRead} {
		if _, there := r.Occurred[a]; !there && !raceDetector {
			t.Errorf("without locks there is no %s", a)
		}
	}
	if r, err = play(t, config, hotOrders, semanticLock); err != nil {
		t.Fatal(err)
	}
	t.Log("with locks: ", r)
	for _, o := range r.Occurred {
		t.Errorf("with locks: %s", o)
	}
}

// keepsNoLocks is a store that forgets who has which lock.
type keepsNoLocks struct{ service.Store }

func (keepsNoLocks) LockQueues(context.Context, skald.Tx, []lock.Key) ([]lock.Row, error) {
	return nil, nil
}

func (keepsNoLocks) SaveLocks(context.Context, skald.Tx, []lock.Row) error { return nil }

// What the matrix says of these countermeasures is their doing: without their check the anomaly is back.
func TestACountermeasureThatDoesNotLookPreventsNothing(t *testing.T) {
	for _, scene := range anomalyScenes() {
		for _, m := range scene.prevented {
			if m != semanticLock && m != rereadValue && m != versionFile {
				continue
			}
			config := Interleaving{Aborts: -1}
			if scene.anomaly == DirtyRead { // which takes an abort
				config.Aborts = 1
			}
			r, err := interleave(t.Context(), config, func(s *Scene) {
				s.stage.wrapStore = func(store service.Store) service.Store { return keepsNoLocks{store} }
				shop := newAnomalyShop(s, m)
				shop.careless = true
				scene.set(shop)
			})
			if err != nil || r.Occurred[scene.anomaly].Courses == 0 {
				t.Errorf("%s, %s: %s, %v", scene.name, m, r, err)
			}
		}
	}
}

// A lock means nothing to who takes the quick path.
func TestTheStrictPathIsNotKeptFromTheQuickOne(t *testing.T) {
	r, err := play(t, Interleaving{}, func(s *anomalyShop) {
		s.credits(200)
		create := s.sagas(trade.charging)
		s.do("order 1 is created", create, "1", deal{Order: "1", Account: "ann", Amount: 60})
		s.do("order 2 is created", create, "2", deal{Order: "2", Account: "ann", Amount: 40})
	}, byValueLarge)
	if err != nil || r.Occurred[LostUpdate].Courses == 0 {
		t.Errorf("%s, %v", r, err)
	}
}

// note is what the sagas below work on.
type note struct {
	Key string `json:"key"`
}

func (n note) itself() note { return n }

// notes sets a scene of one saga with one command, and of another service that handles it.
func notes(handle func(ctx context.Context, tx *Tx, n note) (struct{}, error), undo bool) func(s *Scene) {
	return func(s *Scene) {
		write := skald.Command[note, struct{}]{Name: "notes.write", Channel: "notes", Refusals: []string{"full"}}
		erase := skald.Command[note, struct{}]{Name: "notes.erase", Channel: "notes", Refusals: []string{"too late"}}
		desk, writer := s.Service("desk"), s.Service("writer")
		service.HandleCommand(writer, write, handle)
		service.HandleCommand(writer, erase, func(context.Context, *Tx, note) (struct{}, error) {
			return struct{}{}, skald.Refuse("too late", "it is read")
		})
		step := saga.Compensatable[note]{Name: "write", Do: saga.Call(write, note.itself)}
		if undo {
			step.Undo = saga.Call(erase, note.itself)
		}
		d := saga.Definition[note]{Name: "note", Compensatable: []saga.Compensatable[note]{step}}
		if undo {
			d.Pivot = saga.Step[note]{Name: "seal", Do: saga.Local(func(context.Context, *Tx, *note) error { return skald.Refuse("no", "") })}
		}
		saved := saga.Register(desk, d)
		s.Do("it is written", "desk", func(ctx context.Context, tx *Tx) error { return saved.Start(ctx, tx, "1", note{"1"}) })
	}
}

// forEver sets a scene of a saga whose last step starts the next one.
func forEver(s *Scene) {
	write := skald.Command[note, struct{}]{Name: "notes.write", Channel: "notes"}
	s.stage.longest = 100
	desk, writer := s.Service("desk"), s.Service("writer")
	service.HandleCommand(writer, write, landed)
	var saved *saga.Saga[note]
	next := func(ctx context.Context, tx *Tx, n *note) error {
		key := strconv.FormatInt(number(n.Key)+1, 10)
		return saved.Start(ctx, tx, key, note{key})
	}
	saved = saga.Register(desk, saga.Definition[note]{Name: "note", Pivot: saga.Step[note]{Name: "write", Do: saga.Call(write, note.itself)}, Retriable: []saga.Step[note]{
		{Name: "next", Do: saga.Local(next)},
	}})
	s.Do("it is written", "desk", func(ctx context.Context, tx *Tx) error { return saved.Start(ctx, tx, "1", note{"1"}) })
}

func landed(context.Context, *Tx, note) (struct{}, error) { return struct{}{}, nil }

func TestWhatInterleavingsDoNotKeepIsTold(t *testing.T) {
	broken := func(s *Scene) {
		notes(landed, false)(s)
		s.Rule("there is a note", func(d Data) bool { return len(d.List("writer", "notes")) == 1 && d.Get("nobody", "notes", "1") == "" })
	}
	for _, c := range []struct {
		name   string
		config Interleaving
		set    func(s *Scene)
		want   string
	}{
		{"a handler that never lands", Interleaving{}, notes(func(context.Context, *Tx, note) (struct{}, error) {
			return struct{}{}, errors.New("no paper")
		}, false), `writer holds do "write" of note 1 for ever: no paper` + "\n\nit is written\nwriter gets do \"write\" of note 1"},
		{"a participant that is not there", Interleaving{}, func(s *Scene) {
			notes(landed, false)(s)
			s.stage.players = s.stage.players[:1]
		}, `note 1 never ends: it stands at "write"`},
		{"an undo that is refused", Interleaving{Aborts: -1}, notes(landed, true), "note 1 is parked: "},
		{"a refusal that is not declared", Interleaving{}, func(s *Scene) {
			notes(func(context.Context, *Tx, note) (struct{}, error) { return struct{}{}, skald.Refuse("what", "") }, false)(s)
			s.stage.players[1].store.ExpensiveSavepoints()
		}, `writer holds do "write" of note 1 for ever`},
		{"a broken rule", Interleaving{}, broken, `in the end the rule "there is a note" is broken, although no two sagas disturb each other`},
		{"a sample that breaks a rule", Interleaving{MaxStates: -1}, broken, "seed 1, sample 1: in the end the rule"},
		{"sagas that start the next one for ever", Interleaving{MaxStates: 50, Samples: 1, Aborts: -1}, forEver, "after 100 moves it has not ended: something goes on for ever"},
		{"too large, and not to be sampled", Interleaving{MaxStates: -1, Samples: -1}, notes(landed, false), "more states than MaxStates, and Samples is -1"},
		{"nobody to do it", Interleaving{}, func(s *Scene) {
			s.Do("something happens", "nowhere", nil)
			s.Given("nowhere", nil)
		}, `"something happens" is to happen in service "nowhere"`},
		{"a definition that is refused", Interleaving{}, func(s *Scene) {
			saga.Register(s.Service("desk"), saga.Definition[note]{Name: "empty"})
		}, "no steps: give at least one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := interleave(t.Context(), c.config, c.set); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %v\nwant %s", r, err, c.want)
			}
		})
	}
}

func TestAScriptThatIsNotPossibleIsTold(t *testing.T) {
	for script, want := range map[string]string{
		"it is read": `line 1, "it is read", is not possible at its point; what is:` + "\nit is written",
		"it is written\nwriter gets do \"write\" of note 1\nnote 1 is cancelled\nnote 1 is cancelled": `line 4`,
	} {
		if _, err := replayInterleaving(t.Context(), Interleaving{}, script, notes(landed, false)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", script, err, want)
		}
	}
	ReplayInterleaving(t, Interleaving{}, "it is written\nwriter gets do \"write\" of note 1\n\ndesk gets the reply to do \"write\" of note 1", notes(landed, false))
}

// A child's operations are its parent's, and each saga's name is that of its definition and key.
func TestChildrenActForTheirParents(t *testing.T) {
	set := func(s *Scene) {
		desk := s.Service("desk")
		put := func(what string) saga.LocalAction[note] {
			return saga.Local(func(_ context.Context, tx *Tx, n *note) error {
				before, _ := tx.Get("notes", n.Key)
				tx.Put("notes", n.Key, before+what)
				return nil
			})
		}
		child := saga.Definition[note]{Name: "child", Compensatable: []saga.Compensatable[note]{{Name: "c", Do: put("c"), Undo: put("u")}}}
		parent := saga.Register(desk, saga.Definition[note]{Name: "parent", Compensatable: []saga.Compensatable[note]{
			{Name: "p", Do: put("p"), Undo: put("u")},
			{Name: "child", Do: saga.Child(child, func(n note) (string, note) { return n.Key, n })},
		}})
		for _, key := range []string{"1", "2"} {
			s.Do(key+" comes", "desk", func(ctx context.Context, tx *Tx) error { return parent.Start(ctx, tx, key, note{"same"}) })
		}
	}
	r, err := interleave(t.Context(), Interleaving{Aborts: -1}, set)
	if err != nil || len(r.Occurred) > 0 {
		t.Fatalf("%s, %v", r, err)
	}
	s, err := newStage(t.Context(), Interleaving{}.withDefaults(), set)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	last, err := s.follow([]string{"1 comes"})
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, o := range last.played {
		steps = append(steps, o.Saga+": "+o.Step)
	}
	if got := strings.Join(slices.Compact(steps), ", "); got != "parent 1: p, parent 1: c" {
		t.Errorf("played: %s", got)
	}
}
