package service_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// Services crash at random while sagas lock in opposite orders, are refused and are cancelled.
func TestLocksOutliveCrashes(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBank(t, service.Config{LeaseTTL: time.Second}, transfers, func(b *bank) { b.chaos(rand.New(rand.NewPCG(seed, 65))) })
		})
	}
}

func (b *bank) chaos(random *rand.Rand) {
	const sagas = 60
	names := make([]string, sagas)
	for i := range sagas {
		names[i] = fmt.Sprintf("%s%d", []string{"", "bad "}[random.IntN(5)/4], i)
		b.start(b.handle(i), transfer{Name: names[i], From: fmt.Sprint(random.IntN(3)), To: fmt.Sprint(random.IntN(3))})
		if random.IntN(4) == 0 {
			b.pass(time.Duration(random.IntN(3000)) * time.Millisecond)
			b.crash(bankers[random.IntN(len(bankers))])
		}
		if random.IntN(6) == 0 {
			n := random.IntN(i + 1)
			if o := b.came(b.handle(n), names[n]); !o.Status.Ended() {
				_ = b.services["desk"].Cancel(b.t.Context(), o.ID, "enough") // it may have decided
			}
		}
	}
	for range 10 {
		b.pass(time.Duration(random.IntN(2000)) * time.Millisecond)
		b.crash(bankers[random.IntN(len(bankers))])
	}
	b.pass(5 * time.Minute)
	for i, name := range names {
		if o := b.came(b.handle(i), name); !o.Status.Ended() {
			b.t.Errorf("%s: %+v\n%q", name, o, b.history(o.ID))
		}
	}
	b.nothingLeft()
}

// handle is the saga's of that number: a crash of the desk makes new handles.
func (b *bank) handle(n int) *saga.Saga[transfer] {
	if n%2 == 1 {
		return b.westFirst
	}
	return b.eastFirst
}

// The same with branches, children, local steps, and commands that are handled together.
func TestLocksOfAllSortsOutliveCrashes(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4
	}
	register := func(b *bank) {
		child := saga.Definition[transfer]{Name: "child", Compensatable: moves("", inWest, inWest, lock.Wait).Compensatable[:1]}
		child.Compensatable[0].Do, child.Compensatable[0].Undo = saga.Call(inWest.hold, transfer.to), saga.Call(inWest.free, transfer.to)
		d := b.local("")
		d.Name = "all.sorts"
		d.Compensatable = []saga.Compensatable[transfer]{{Name: "beside each other", Parallel: [][]saga.Compensatable[transfer]{
			{d.Compensatable[0], d.Compensatable[1]},
			{{Name: "child", Do: saga.Child(child, func(t transfer) (string, transfer) { return t.Name, t }), Undo: saga.Call(inWest.free, transfer.to)}},
		}}}
		b.eastFirst = saga.Register(b.services["desk"], d)
		b.westFirst = saga.Register(b.services["desk"], moves("west.first", inWest, inEast, lock.Wait))
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBank(t, service.Config{LeaseTTL: time.Second}, register, func(b *bank) { b.chaos(rand.New(rand.NewPCG(seed, 66))) }, func(b *bank) { b.batched = seed%2 == 1 })
		})
	}
}
