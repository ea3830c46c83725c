package service_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/skaldtest"
)

// seedVariable names the seed to replay, alone; without it there are some fixed ones.
const seedVariable = "SKALD_SEED"

func randomSeeds(t *testing.T) []uint64 {
	t.Helper()
	if given := os.Getenv(seedVariable); given != "" {
		seed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", seedVariable, given, err)
		}
		return []uint64{seed}
	}
	return []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
}

// townFaults are what goes wrong in a town, beside its handlers.
var townFaults = map[string]func(w *town, name string){
	"commit failed":              func(w *town, name string) { w.stores[name].FailCommits(1+w.draw(2), false) },
	"commit's answer lost":       func(w *town, name string) { w.stores[name].FailCommits(1, true) },
	"instance crashed":           func(w *town, name string) { w.crash(name); w.atLeastOne(name) },
	"instance stopped":           func(w *town, name string) { w.leave(name); w.atLeastOne(name) },
	"instance added":             func(w *town, name string) { w.join(name) },
	"publish failed":             func(w *town, _ string) { w.broker.FailPublish(1 + w.draw(3)) },
	"publish cut":                func(w *town, _ string) { w.broker.CutPublish(w.draw(4)) },
	"broker repeats":             func(w *town, _ string) { w.broker.Repeat(w.draw(3)) },
	"broker restarted":           func(w *town, _ string) { w.broker.Restart() },
	"broker crashed":             func(w *town, _ string) { w.broker.Crash() },
	"broker wiped":               func(w *town, _ string) { w.broker.Wipe() },
	"broker stopped for a while": func(w *town, _ string) { w.broker.Stop(); w.pass(10 * time.Second); w.broker.Start() },
	"broker refuses": func(w *town, _ string) {
		eighth := byte(w.draw(8))
		w.broker.RejectIf(func(m *skald.Message) error {
			if m.ID[15]%8 == eighth {
				return errTooLarge
			}
			return nil
		})
	},
	"broker crashed under an absent reader": func(w *town, name string) {
		for len(w.members[name]) > 0 {
			w.leave(name)
		}
		w.say(neighbour(name, 1))
		w.pass(2 * time.Second)
		w.broker.Crash()
		w.join(name)
	},
	"broker refuses no more": func(w *town, _ string) { w.broker.RejectIf(nil) },
}

func (w *town) atLeastOne(name string) {
	if len(w.members[name]) == 0 {
		w.join(name)
	}
}

// TestWhateverIsDrawnEverythingIsHandledOnceAndInOrder runs a town for a while through what a
// seed draws, and compares it with the model: of each key everybody has heard, or visibly holds,
// what was told, in order and once; every deal ended or is parked, with the effects of its end.
// SKALD_SEED=7 replays a seed; handlers draw in the order in which they run.
func TestWhateverIsDrawnEverythingIsHandledOnceAndInOrder(t *testing.T) {
	hits := map[string]int{}
	for _, seed := range randomSeeds(t) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := inTown(t, seed, nil, (*town).live)
			for _, fault := range w.faults {
				t.Error(fault)
			}
			if t.Failed() {
				t.Logf("replay it by %s=%d go test -run %s", seedVariable, seed, "TestWhateverIsDrawn")
			}
			for what, n := range w.hits {
				hits[what] += n
			}
		})
	}
	t.Log(hits)
	if os.Getenv(seedVariable) != "" {
		return
	}
	for what, least := range map[string]int{
		"told": 200, "heard": 2000, "completed": 80, "compensated": 30, "parked": 2, "refused": 20, "handler failed": 100, "handler panicked": 20,
		"handler hung": 20, "handler broke its batch": 20, "message poisoned": 10, "word held": 5,
	} {
		if hits[what] < least {
			t.Errorf("%s: %d times, want %d or more: the test shows too little", what, hits[what], least)
		}
	}
	for what := range townFaults {
		if hits[what] < 3 {
			t.Errorf("%s: %d times, want 3 or more: the test shows too little", what, hits[what])
		}
	}
}

// live is a town's life: a time of trouble, a calm one in which what failed is parked or done, and
// the end, when an operator has tried everything again.
func (w *town) live() {
	deals := w.trouble()
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	w.broker.RejectIf(nil)
	w.pass(10 * time.Minute)
	for _, name := range townNames {
		w.mu.Lock()
		w.hits["word held"] += len(w.held(name))
		w.mu.Unlock()
	}
	w.checkWords()
	w.mu.Lock()
	w.poisoned = ""
	w.mu.Unlock()
	w.redrive()
	w.pass(10 * time.Minute)
	w.checkWords()
	w.checkDeals(deals)
	for _, name := range townNames {
		for _, seen := range w.stores[name].List("seen") {
			w.mu.Lock()
			w.hits["heard"] += len(seen) / 2
			w.mu.Unlock()
		}
		for _, h := range w.held(name) {
			w.broken("%s holds %s %q for ever (%s): %s", name, h.Message.Kind, h.Message.Type, h.State, h.Reason)
		}
	}
}

// trouble lets the services talk while everything goes wrong, and returns their deals.
func (w *town) trouble() map[string][]string {
	const rounds = 30
	deals := map[string][]string{}
	kinds := slices.Sorted(maps.Keys(townFaults))
	for round := range rounds {
		name := townNames[w.draw(3)]
		if round == rounds/2 {
			w.mu.Lock()
			w.poisoned = name + " " + neighbour(name, 1) + " a"
			w.mu.Unlock()
		}
		if w.draw(2) == 0 {
			kind := kinds[w.draw(len(kinds))]
			w.hit(kind)
			townFaults[kind](w, name)
		}
		w.say(name)
		id, subject := fmt.Sprint(name, round), w.drawKey()
		w.transact(name, func(ctx context.Context, tx *skaldtest.Tx, m *member) error {
			return m.deals.Start(ctx, tx, id, deal{ID: id, Key: subject})
		})
		deals[name] = append(deals[name], id)
		w.pass(time.Duration(w.draw(3000)) * time.Millisecond)
	}
	return deals
}

func (w *town) drawKey() string { return string(rune('a' + w.draw(3))) }

// say tells some words of a key.
func (w *town) say(name string) {
	words, key, hops := 1+w.draw(4), w.drawKey(), w.draw(3)
	w.transact(name, func(ctx context.Context, tx *skaldtest.Tx, m *member) error {
		for range words {
			if err := tell(ctx, tx, m.service, name, key, hops); err != nil {
				return err
			}
		}
		return nil
	})
	w.hit("told")
}
