package watch_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald/examples/ftgo/watch"
)

func TestAWatcherGetsTheChangesOfItsKeyInOrder(t *testing.T) {
	var hub watch.Hub[int]
	hub.Tell("a", 0) // nobody watches
	a, b := hub.Watch("a"), hub.Watch("b")
	defer b.Close()
	hub.Tell("a", 1)
	hub.Tell("a", 2)
	hub.Tell("b", 3)
	for _, want := range []int{1, 2} {
		if got := <-a.C; got != want {
			t.Errorf("a got %d, want %d", got, want)
		}
	}
	a.Close()
	hub.Tell("a", 4)
	if got := <-b.C; got != 3 || len(a.C) != 0 {
		t.Errorf("b got %d; a, closed, has %d more", got, len(a.C))
	}
}

func TestASlowWatcherMissesTheOldestAndBlocksNobody(t *testing.T) {
	var hub watch.Hub[int]
	w := hub.Watch("a")
	defer w.Close()
	for i := range 100 {
		hub.Tell("a", i)
	}
	var last int
	for len(w.C) > 0 {
		last = <-w.C
	}
	if last != 99 {
		t.Errorf("the newest change is lost: %d", last)
	}
}

func TestAwaitReturnsAtTheChangeAndOtherwiseWhenPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub watch.Hub[struct{}]
		var there atomic.Bool
		find := func(context.Context) (string, bool, error) { return "it", there.Load(), nil }
		began := time.Now()
		if _, ok, err := watch.Await(t.Context(), &hub, "a", 2*time.Second, find); ok || err != nil {
			t.Errorf("found nothing: %t, %v", ok, err)
		}
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("waited %s", waited)
		}
		began = time.Now()
		time.AfterFunc(100*time.Millisecond, func() {
			there.Store(true)
			hub.Tell("a", struct{}{})
		})
		if got, ok, err := watch.Await(t.Context(), &hub, "a", 2*time.Second, find); got != "it" || !ok || err != nil {
			t.Errorf("got %q, %t, %v", got, ok, err)
		}
		if waited := time.Since(began); waited != 100*time.Millisecond {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestAwaitFindsWhatAnotherProcessChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hub watch.Hub[struct{}]
		looks := 0
		find := func(context.Context) (int, bool, error) {
			looks++
			return looks, looks == 4, nil
		}
		if got, ok, err := watch.Await(t.Context(), &hub, "a", 2*time.Second, find); got != 4 || !ok || err != nil {
			t.Errorf("got %d, %t, %v", got, ok, err)
		}
	})
}

func TestAwaitEndsWithItsRequestAndWithAFault(t *testing.T) {
	var hub watch.Hub[struct{}]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(context.Context) (int, bool, error) { return 0, false, nil }
	if _, _, err := watch.Await(ctx, &hub, "a", time.Hour, never); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	fault := errors.New("disk")
	broken := func(context.Context) (int, bool, error) { return 0, false, fault }
	if _, _, err := watch.Await(t.Context(), &hub, "a", time.Hour, broken); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
}
