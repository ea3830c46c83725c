package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// lookingStore notes how many queues of locks were looked at each time.
type lookingStore struct {
	*skaldtest.Store
	mu    sync.Mutex
	looks []int
}

func (s *lookingStore) LockQueues(ctx context.Context, tx skald.Tx, keys []lock.Key) ([]lock.Row, error) {
	s.mu.Lock()
	s.looks = append(s.looks, len(keys))
	s.mu.Unlock()
	return s.Store.LockQueues(ctx, tx, keys)
}

// looked is how often it was since the last time, and how many queues the most at once.
func (s *lookingStore) looked() (times, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.looks {
		times, most = times+1, max(most, n)
	}
	s.looks = nil
	return times, most
}

func running(t *testing.T, s *service.Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func newService(t *testing.T, name string, store service.Store, broker *skaldtest.Broker) *service.Service {
	t.Helper()
	s, err := service.New(name, store, broker, service.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deskOnly is a transfer that locks and releases in the orchestrator's own database alone.
func deskOnly() saga.Definition[transfer] {
	local := saga.Local(func(context.Context, *skaldtest.Tx, *transfer) error { return nil })
	name := func(t transfer) string { return t.Name }
	return saga.Definition[transfer]{
		Name:          "desk.only",
		Compensatable: []saga.Compensatable[transfer]{{Name: "begin", Do: local.Locks(atTheDesk, name), Undo: local.Unlocks(atTheDesk, name)}},
		Pivot:         saga.Step[transfer]{Name: "clear", Do: saga.Call(clearing, transfer.from).Refused((*transfer).because)},
		Retriable:     []saga.Step[transfer]{{Name: "end", Do: local.Unlocks(atTheDesk, name)}},
	}
}

func clears(t *testing.T, broker *skaldtest.Broker) (stop func()) {
	t.Helper()
	s := newService(t, "clearing", skaldtest.NewStore(), broker)
	service.HandleCommand(s, clearing, func(_ context.Context, _ *skaldtest.Tx, m mark) (ok, error) {
		if len(m.By)%2 == 1 {
			return ok{}, skald.Refuse("no_cover", "no")
		}
		return ok{}, nil
	})
	return running(t, s)
}

func noLocks(t *testing.T, s *service.Service) {
	t.Helper()
	if rows, err := s.Locks().List(t.Context(), "", lock.Key{}, 10); len(rows) > 0 || err != nil {
		t.Errorf("locks are left: %v, %v", rows, err)
	}
}

func TestABatchLooksAtTheLocksOfAllItsSagasAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sagas = 40
		broker, store := skaldtest.NewBroker(skaldtest.BrokerConfig{}), &lookingStore{Store: skaldtest.NewStore()}
		desk := newService(t, "desk", store, broker)
		handle := saga.Register(desk, deskOnly())
		defer running(t, desk)()
		defer clears(t, broker)()
		gate := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			if err := service.Transact(t.Context(), desk, func(context.Context, *skaldtest.Tx) error { <-gate; return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for i := range sagas {
			group.Go(func() {
				name := fmt.Sprintf("%*d", i/2+1, i) // half of them of an odd length
				if o, err := handle.Run(t.Context(), name, transfer{Name: name, From: "1"}); err != nil || !o.Status.Ended() {
					t.Errorf("saga %s: %+v, %v", name, o, err)
				}
			})
		}
		synctest.Wait() // all of them wait for the next batch
		close(gate)
		group.Wait()
		if times, most := store.looked(); most != sagas || times > sagas/2 {
			t.Errorf("%d looks, at %d locks at most", times, most)
		}
		noLocks(t, desk)
	})
}

// The process that started them is gone, and what it had in memory.
func TestABatchLooksAtTheLocksOfSagasThatItHadToLoadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sagas = 40
		broker, store := skaldtest.NewBroker(skaldtest.BrokerConfig{}), &lookingStore{Store: skaldtest.NewStore()}
		first := newService(t, "desk", store, broker)
		handle := saga.Register(first, deskOnly())
		stop := running(t, first)
		err := service.Transact(t.Context(), first, func(ctx context.Context, tx *skaldtest.Tx) error {
			for i := range sagas {
				name := fmt.Sprintf("%*d", i/2+1, i)
				if err := handle.Start(ctx, tx, name, transfer{Name: name, From: "1"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		store.looked()
		defer clears(t, broker)()
		desk := newService(t, "desk", store, broker)
		handle = saga.Register(desk, deskOnly())
		defer running(t, desk)()
		for i := range sagas {
			name := fmt.Sprintf("%*d", i/2+1, i)
			if o, err := handle.Await(t.Context(), name); err != nil || !o.Status.Ended() {
				t.Errorf("saga %s: %+v, %v", name, o, err)
			}
		}
		if times, _ := store.looked(); times > sagas/2 {
			t.Errorf("%d looks", times)
		}
		noLocks(t, desk)
	})
}
