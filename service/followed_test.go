package service_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// relayed is a choreography whose events come on two channels.
var (
	relayedStarted = happened("follower", "started")
	relayedHalf    = happened("first", "half")
	relayedDone    = happened("second", "done")
	relayed        = saga.Choreography{
		Name: "relayed", Starts: relayedStarted, Completes: relayedDone, Deadline: time.Minute,
		Participants: []saga.Participant{
			{Service: "first", Reactions: []saga.Reaction{{Name: "first", On: saga.On(relayedStarted), Emits: saga.Emits(relayedHalf)}}},
			{Service: "second", Reactions: []saga.Reaction{{Name: "second", On: saga.On(relayedHalf), Emits: saga.Emits(relayedDone)}}},
		},
	}
)

// looking counts how often a service looks for instances in its store.
type looking struct {
	*skaldtest.Store
	looks *atomic.Int32
}

func (l looking) LoadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID) ([]saga.Record, error) {
	if len(ids) > 0 {
		l.looks.Add(1)
	}
	return l.Store.LoadSagas(ctx, tx, ids)
}

func (l looking) ReadSaga(ctx context.Context, name, key string) (*saga.Record, error) {
	l.looks.Add(1)
	return l.Store.ReadSaga(ctx, name, key)
}

// relayTeam is the services of [relayed], the follower in one or several instances.
type relayTeam struct {
	t         *testing.T
	store     *skaldtest.Store
	broker    *skaldtest.Broker
	looks     atomic.Int32
	failed    atomic.Int32 // batches, and other errors that were logged
	followers []*service.Service
	handles   []*saga.Tracked[about]
	// before is called before the second service reacts.
	before func()
}

func newRelayTeam(t *testing.T) *relayTeam {
	return &relayTeam{t: t, store: skaldtest.NewStore(), broker: skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1}), before: func() {}}
}

// Enabled implements [slog.Handler]: what is logged as an error counts.
func (r *relayTeam) Enabled(_ context.Context, level slog.Level) bool {
	if level >= slog.LevelError {
		r.failed.Add(1)
	}
	return false
}
func (r *relayTeam) Handle(context.Context, slog.Record) error { return nil }
func (r *relayTeam) WithAttrs([]slog.Attr) slog.Handler        { return r }
func (r *relayTeam) WithGroup(string) slog.Handler             { return r }

func (r *relayTeam) service(name string, store service.Store) *service.Service {
	r.t.Helper()
	svc, err := service.New(name, store, r.broker, service.Config{Logger: slog.New(r)})
	if err != nil {
		r.t.Fatal(err)
	}
	return svc
}

// follow starts an instance of the follower.
func (r *relayTeam) follow() (stop func()) {
	r.t.Helper()
	svc := r.service("follower", looking{r.store.Connect(), &r.looks})
	r.followers, r.handles = append(r.followers, svc), append(r.handles, saga.Track(svc, relayed, relayedStarted))
	stop = runUntil(r.t, svc)
	synctest.Wait()
	return stop
}

func (r *relayTeam) react(name string, on, next skald.Event[about], before func()) (stop func()) {
	r.t.Helper()
	svc := r.service(name, skaldtest.NewStore())
	service.React(svc, relayed, on, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
		before()
		return outbox.Publish(ctx, svc.Outbox(), tx, next, a)
	})
	stop = runUntil(r.t, svc)
	synctest.Wait()
	return stop
}

// begin begins an instance at a follower.
func (r *relayTeam) begin(at int) (id skald.ID) {
	r.t.Helper()
	err := service.Transact(r.t.Context(), r.followers[at], func(ctx context.Context, tx *skaldtest.Tx) (err error) {
		id, err = r.handles[at].Begin(ctx, tx, about{"a"})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *relayTeam) completes(at int, id skald.ID) {
	r.t.Helper()
	if o, err := r.handles[at].Await(r.t.Context(), id); err != nil || o.Status != saga.Completed || o.ID != id || o.State != (about{"a"}) {
		r.t.Errorf("%+v, %v", o, err)
	}
	if entries, err := r.followers[at].History(r.t.Context(), id); err != nil || len(entries) != 4 {
		r.t.Errorf("history %+v, %v", entries, err)
	}
}

func TestAnInstanceIsFollowedInMemoryFromItsBeginningToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayTeam(t)
		defer r.follow()()
		id := r.begin(0)
		defer r.react("first", relayedStarted, relayedHalf, func() {})()
		defer r.react("second", relayedHalf, relayedDone, func() {
			if looks := r.looks.Load(); looks > 0 {
				t.Errorf("%d looks for an instance that lives", looks)
			}
		})()
		r.completes(0, id)
		if failed := r.failed.Load(); failed > 0 {
			t.Errorf("%d errors", failed)
		}
	})
}
