package service_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
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
	reads []string // the channels that it reads at most; all if there are none
}

func (l looking) ClaimPartitions(ctx context.Context, holder string, partitions []inbox.Partition, ttl time.Duration) ([]inbox.Lease, error) {
	if len(l.reads) > 0 {
		partitions = slices.DeleteFunc(slices.Clone(partitions), func(p inbox.Partition) bool { return !slices.Contains(l.reads, p.Channel) })
	}
	return l.Store.ClaimPartitions(ctx, holder, partitions, ttl)
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
	errors    atomic.Int32 // that were logged
	followers []*service.Service
	handles   []*saga.Tracked[about]
}

func inRelay(t *testing.T, run func(r *relayTeam)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		run(&relayTeam{t: t, store: skaldtest.NewStore(), broker: skaldtest.NewBroker(skaldtest.BrokerConfig{Partitions: 1})})
	})
}

// Enabled implements [slog.Handler]: what is logged as an error counts.
func (r *relayTeam) Enabled(_ context.Context, level slog.Level) bool {
	if level >= slog.LevelError {
		r.errors.Add(1)
	}
	return false
}
func (r *relayTeam) Handle(context.Context, slog.Record) error { return nil }
func (r *relayTeam) WithAttrs([]slog.Attr) slog.Handler        { return r }
func (r *relayTeam) WithGroup(string) slog.Handler             { return r }

func (r *relayTeam) run(name string, store service.Store, register func(*service.Service)) (stop func()) {
	r.t.Helper()
	svc, err := service.New(name, store, r.broker, service.Config{Logger: slog.New(r)})
	if err != nil {
		r.t.Fatal(err)
	}
	register(svc)
	stop = runUntil(r.t, svc)
	synctest.Wait()
	return stop
}

// follow runs one more instance of the follower, which reads these channels, or all.
func (r *relayTeam) follow(channels ...string) (stop func()) {
	return r.run("follower", looking{r.store.Connect(), &r.looks, channels}, func(svc *service.Service) {
		r.followers, r.handles = append(r.followers, svc), append(r.handles, saga.Track(svc, relayed, relayedStarted))
	})
}

// react runs a service that reacts, after before.
func (r *relayTeam) react(name string, on, next skald.Event[about], before func()) (stop func()) {
	return r.run(name, skaldtest.NewStore(), func(svc *service.Service) {
		service.React(svc, relayed, on, func(ctx context.Context, tx *skaldtest.Tx, a about) error {
			before()
			return outbox.Publish(ctx, svc.Outbox(), tx, next, a)
		})
	})
}

func nothing() {}

// begin begins an instance at a follower, and awaits its end meanwhile.
func (r *relayTeam) begin(at int) (id skald.ID, completed func()) {
	r.t.Helper()
	err := service.Transact(r.t.Context(), r.followers[at], func(ctx context.Context, tx *skaldtest.Tx) (err error) {
		id, err = r.handles[at].Begin(ctx, tx, about{"a"})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if o, err := r.handles[at].Await(r.t.Context(), id); err != nil || o.Status != saga.Completed || o.ID != id || o.State != (about{"a"}) {
			r.t.Errorf("%+v, %v", o, err)
		}
	})
	synctest.Wait()
	return id, waiting.Wait
}

func (r *relayTeam) expect(looks, errors int32) {
	r.t.Helper()
	if got := r.looks.Load(); got != looks {
		r.t.Errorf("%d looks into the store, want %d", got, looks)
	}
	if got := r.errors.Load(); got != errors {
		r.t.Errorf("%d errors, want %d", got, errors)
	}
}

func TestAnInstanceIsFollowedInMemoryFromItsBeginningToItsEnd(t *testing.T) {
	inRelay(t, func(r *relayTeam) {
		defer r.follow()()
		_, completed := r.begin(0)
		defer r.react("first", relayedStarted, relayedHalf, nothing)()
		defer r.react("second", relayedHalf, relayedDone, nothing)()
		completed()
		r.expect(0, 0)
	})
}

// What an event finds in memory would be outdated where another instance of the service got the one before.
func TestNothingIsKeptWhereTheEventsOfAnInstanceGoToSeveralProcesses(t *testing.T) {
	inRelay(t, func(r *relayTeam) {
		defer r.follow("first.events")()
		defer r.follow("second.events")()
		_, completed := r.begin(1)
		defer r.react("first", relayedStarted, relayedHalf, nothing)()
		defer r.react("second", relayedHalf, relayedDone, nothing)()
		completed()
		r.expect(3, 0) // Await, and one for each event
	})
}

// An operator, or a deadline, may go on with an instance in another process all the same.
func TestAnInstanceThatChangedElsewhereGoesOnFromWhatIsStored(t *testing.T) {
	inRelay(t, func(r *relayTeam) {
		defer r.follow()()
		id, completed := r.begin(0)
		defer r.react("first", relayedStarted, relayedHalf, nothing)()
		synctest.Wait()
		r.changeElsewhere(id)
		defer r.react("second", relayedHalf, relayedDone, nothing)()
		completed()
		r.expect(1, 1) // the batch was refused, and loaded what is stored
		entries, err := r.followers[0].History(r.t.Context(), id)
		if err != nil || len(entries) != 4 {
			t.Errorf("history %+v, %v", entries, err)
		}
	})
}

func (r *relayTeam) changeElsewhere(id skald.ID) {
	r.t.Helper()
	tx, err := r.store.BeginTx(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	records, err := r.store.LoadSagas(r.t.Context(), tx, []skald.ID{id})
	if err != nil || len(records) != 1 {
		r.t.Fatalf("%+v, %v", records, err)
	}
	records[0].Revision++
	if err := r.store.SaveSagas(r.t.Context(), tx, records); err != nil {
		r.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		r.t.Fatal(err)
	}
}
