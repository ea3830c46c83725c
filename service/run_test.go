package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// unreachable is a broker that does not answer in time.
type unreachable struct{ *skaldtest.Broker }

func (unreachable) Partitions(context.Context, string) (int, error) {
	return 0, fmt.Errorf("connect: %w", context.DeadlineExceeded)
}

func TestRunSaysWhyItCouldNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, err := service.New("kitchen", skaldtest.NewStore(), unreachable{skaldtest.NewBroker(skaldtest.BrokerConfig{})}, service.Config{})
		if err != nil {
			t.Fatal(err)
		}
		service.HandleCommand(svc, createTicket, func(context.Context, *skaldtest.Tx, ticket) (ok, error) { return ok{}, nil })
		if err := svc.Run(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run says %v, and the broker did not answer", err)
		}
	})
}

// Content is decoded into the type that the wait names. One that was signalled to an interface could never be.
func TestAWaitForAnInterfaceIsRefusedAtTheStart(t *testing.T) {
	svc, err := service.New("desk", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
	if err != nil {
		t.Fatal(err)
	}
	saga.Register(svc, booking(saga.Compensatable[trip]{Name: "asked", Do: saga.Wait(func(*trip, error) error { return nil }), Deadline: time.Hour}))
	if _, err := svc.Stepper(t.Context()); err == nil || !strings.Contains(err.Error(), `step "asked": wait: content of type error, an interface`) {
		t.Errorf("it starts: %v", err)
	}
}

func TestAPanicAfterTheCommitIsContained(t *testing.T) {
	inShop(t, nil, func(s *shop) {
		in := s.running["order"]
		after := make(chan struct{})
		err := service.Transact(s.t.Context(), in.service, func(ctx context.Context, _ *skaldtest.Tx) error {
			service.OnCommit(ctx, func() { panic("after the commit") })
			service.OnCommit(ctx, func() { close(after) })
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		<-after
		s.mustPlace("a", 1, 500)
		s.pass(time.Second)
		s.approved("a")
	})
}

// historian keeps what is added to histories.
type historian struct {
	*skaldtest.Store
	entries []saga.Entry
}

func (h *historian) AddHistory(ctx context.Context, tx skald.Tx, entries []saga.Entry) error {
	h.entries = append(h.entries, entries...)
	return h.Store.AddHistory(ctx, tx, entries)
}

func TestAStartThatIsRefusedLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &historian{Store: skaldtest.NewStore()}
		svc, err := service.New("order", store, skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
		if err != nil {
			t.Fatal(err)
		}
		sagas := saga.Register(svc, saga.Definition[state]{Name: "order.create", Retriable: []saga.Step[state]{
			{Name: "create order", Do: saga.Local(func(_ context.Context, _ *skaldtest.Tx, s *state) error {
				if s.Items == 0 {
					return skald.Refuse("no_items", "nothing to order")
				}
				return nil
			})},
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- svc.Run(ctx) }()
		err = service.Transact(ctx, svc, func(ctx context.Context, tx *skaldtest.Tx) error {
			for items := range 2 { // the first is refused, and the caller takes the next
				err := sagas.Start(ctx, tx, "a", state{Items: items})
				if _, refused := skald.AsRefusal(err); refused != (items == 0) {
					t.Errorf("start with %d items: %v", items, err)
				}
			}
			return nil
		})
		outcome, found, failed := sagas.Find(ctx, "a")
		if err := errors.Join(err, failed); err != nil || !found || outcome.Status != saga.Completed {
			t.Errorf("%+v, found %t, %v", outcome, found, err)
		}
		for _, e := range store.entries {
			if e.Saga != outcome.ID {
				t.Errorf("the history has an entry of saga %s, which does not exist: %+v", e.Saga, e)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTransactFailsAtOnceWhenTheServiceCouldNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, err := service.New("order", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
		if err != nil {
			t.Fatal(err)
		}
		service.HandleEvent(svc, skald.Event[ok]{Name: "Bad Name"}, func(context.Context, *skaldtest.Tx, ok) error { return nil })
		waiting := make(chan error, 1)
		go func() {
			waiting <- service.Transact(t.Context(), svc, func(context.Context, *skaldtest.Tx) error { return nil })
		}()
		synctest.Wait()
		if svc.Run(t.Context()) == nil {
			t.Fatal("the service started")
		}
		if err := <-waiting; !errors.Is(err, inbox.ErrStopped) {
			t.Errorf("Transact: %v, want ErrStopped", err)
		}
	})
}

func TestABusinessKeyIsFreeInTheTransactionInWhichItsSagaEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, err := service.New("order", skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		stuck := true
		undo := func(context.Context, *skaldtest.Tx, *state) error {
			if stuck {
				return refused("stuck")
			}
			return nil
		}
		sagas := saga.Register(svc, saga.Definition[state]{Name: "order.create", Compensatable: []saga.Compensatable[state]{
			{Name: "create order", Do: saga.Local(orderIs("pending")), Undo: saga.Local(undo)},
			{Name: "create ticket", Do: saga.Call(createTicket, state.ticket), Deadline: time.Second},
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- svc.Run(ctx) }()
		start := func(ctx context.Context, tx *skaldtest.Tx) error { return sagas.Start(ctx, tx, "a", state{Order: "a"}) }
		if err := service.Transact(ctx, svc, start); err != nil {
			t.Fatal(err)
		}
		outcome, err := sagas.Await(ctx, "a")
		if err != nil || outcome.Status != saga.Parked {
			t.Fatalf("the saga is %s, %v; want it parked", outcome.Status, err)
		}
		stuck = false
		if err := service.Transact(ctx, svc, func(ctx context.Context, tx *skaldtest.Tx) error {
			return errors.Join(svc.SagaEngine().Resume(ctx, tx, outcome.ID, "mended"), start(ctx, tx))
		}); err != nil {
			t.Errorf("start again where the saga ends: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
