package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// A town is three services that tell each other events, which make them tell more of them, and
// that make deals with each other, which are sagas.

var townNames = []string{"north", "south", "west"}

// neighbour is the service that is n further on.
func neighbour(name string, n int) string {
	return townNames[(slices.Index(townNames, name)+n)%len(townNames)]
}

// word is the nth that a service tells of a key; whoever hears it tells on.
type word struct {
	Key  string `json:"key"`
	N    int    `json:"n"`
	Hops int    `json:"hops"`
}

func told(name string) skald.Event[word] {
	return skald.Event[word]{Name: name + ".told", Channel: name + ".events", Key: func(w word) string { return w.Key }}
}

type deal struct {
	ID  string `json:"id"`
	Key string `json:"key"`
	Why string `json:"why,omitempty"`
}

func (d deal) itself() deal { return d }

func (d *deal) because(r skald.Refusal) { d.Why = r.Code }

// asked is one of a service's commands.
func asked(name, what string) skald.Command[deal, ok] {
	return skald.Command[deal, ok]{
		Name: name + "." + what, Channel: name + ".commands", Key: func(d deal) string { return d.Key }, Refusals: []string{"no"},
	}
}

func makeDeal(name string, deadline, bar time.Duration) saga.Definition[deal] {
	next, other := neighbour(name, 1), neighbour(name, 2)
	local := func(what string) saga.Action[deal] {
		return saga.Local(func(_ context.Context, tx *skaldtest.Tx, d *deal) error { effect(tx, d.ID+" "+what); return nil })
	}
	call := func(name, what string) saga.CallAction[deal, ok] { return saga.Call(asked(name, what), deal.itself) }
	return saga.Definition[deal]{
		Name: name + ".deal",
		Compensatable: []saga.Compensatable[deal]{
			{Name: "note", Do: local("noted"), Undo: local("crossed out")},
			{Name: "reserve", Do: call(next, "reserve").Refused((*deal).because), Undo: call(next, "release"), Deadline: deadline},
		},
		Pivot:     saga.Step[deal]{Name: "pay", Do: call(other, "pay").Refused((*deal).because), Bar: bar},
		Retriable: []saga.Step[deal]{{Name: "deliver", Do: call(next, "deliver")}},
	}
}

// town is the services, their databases and the broker, and what went wrong on purpose.
type town struct {
	t             *testing.T
	broker        *skaldtest.Broker
	stores        map[string]*skaldtest.Store // never crashed: each instance has a connection of its own
	members       map[string][]*member
	config        service.Config
	deadline, bar time.Duration
	// Between a service and its store or the broker, if set.
	wrapStore  func(*skaldtest.Store) service.Store
	wrapBroker func(*skaldtest.Broker) service.Broker
	random     *rand.Rand // draws the town and its troubles
	faults     []string   // promises that are broken

	mu   sync.Mutex
	luck *rand.Rand // draws how handlers end, in the order in which they run
	calm bool
	// poisoned is a service, channel and key that fails until it is cleared.
	poisoned string
	hits     map[string]int
}

// member is an instance of a service.
type member struct {
	store   *skaldtest.Store
	service *service.Service
	deals   *saga.Saga[deal]
	stop    context.CancelFunc
	ended   chan error
}

// inTown runs fn in a bubble of virtual time, in a town that the seed makes. The bubble does not
// end while a goroutine of it has not: what a service leaves behind fails the test.
func inTown(t *testing.T, seed uint64, configure func(*town), fn func(w *town)) *town {
	t.Helper()
	w := &town{random: rand.New(rand.NewPCG(seed, 2)), luck: rand.New(rand.NewPCG(seed, 3)), hits: map[string]int{}}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		w.stores, w.members = map[string]*skaldtest.Store{}, map[string][]*member{}
		w.config = service.Config{Logger: slog.New(slog.DiscardHandler), HandlerTimeout: time.Second, MaxAttempts: 8, BatchSize: w.draw(2) * 4}
		w.deadline, w.bar = time.Duration(w.draw(2))*15*time.Second, time.Duration(w.draw(2))*20*time.Second
		w.broker = skaldtest.NewBroker(skaldtest.BrokerConfig{SyncInterval: time.Duration(w.draw(3)) * 5 * time.Second})
		if configure != nil {
			configure(w)
		}
		for _, name := range townNames {
			w.stores[name] = skaldtest.NewStore()
			if w.draw(2) == 0 {
				w.stores[name].ExpensiveSavepoints()
			}
			w.join(name)
		}
		fn(w)
		for _, name := range townNames {
			for len(w.members[name]) > 0 {
				w.leave(name)
			}
		}
	})
	return w
}

// broken notes a promise that is not kept.
func (w *town) broken(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func (w *town) draw(n int) int { return w.random.IntN(n) }

// dice is a handler's draw.
func (w *town) dice(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.luck.IntN(n)
}

func (w *town) hit(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hits[what]++
}

// join starts an instance of a service.
func (w *town) join(name string) {
	m := &member{store: w.stores[name].Connect(), ended: make(chan error, 1)}
	var store service.Store = m.store
	if w.wrapStore != nil {
		store = w.wrapStore(m.store)
	}
	var broker service.Broker = w.broker
	if w.wrapBroker != nil {
		broker = w.wrapBroker(w.broker)
	}
	svc, err := service.New(name, store, broker, w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	m.service, m.deals = svc, saga.Register(svc, makeDeal(name, w.deadline, w.bar))
	for _, what := range []string{"reserve", "release", "pay", "deliver"} {
		service.HandleCommand(svc, asked(name, what), func(ctx context.Context, tx *skaldtest.Tx, d deal) (ok, error) {
			effect(tx, d.ID+" "+what)
			if chance := map[string]int{"reserve": 8, "pay": 5, "deliver": 15}[what]; chance > 0 && w.dice(chance) == 0 {
				w.hit("refused")
				return ok{}, refused("no")
			}
			return ok{}, w.end(ctx, tx)
		})
	}
	for _, other := range []string{neighbour(name, 1), neighbour(name, 2)} {
		service.HandleEvent(svc, told(other), func(ctx context.Context, tx *skaldtest.Tx, said word) error {
			return w.hear(ctx, tx, svc, name, other, said)
		})
	}
	ctx, stop := context.WithCancel(w.t.Context())
	m.stop = stop
	go func() { m.ended <- svc.Run(ctx) }()
	w.members[name] = append(w.members[name], m)
	synctest.Wait()
}

// leave stops the oldest instance of a service.
func (w *town) leave(name string) { w.part(name, false) }

// crash kills the oldest instance of a service, at once.
func (w *town) crash(name string) { w.part(name, true) }

func (w *town) part(name string, crash bool) {
	m := w.members[name][0]
	w.members[name] = w.members[name][1:]
	if crash {
		m.store.Crash()
	}
	m.stop()
	if err := <-m.ended; err != nil && !crash {
		w.broken("service %s: %v", name, err)
	}
}

// end decides how a handler ends that has done its work.
func (w *town) end(ctx context.Context, tx *skaldtest.Tx) error {
	dice := w.dice(60)
	w.mu.Lock()
	calm := w.calm
	w.mu.Unlock()
	switch {
	case calm || dice > 6:
		return nil
	case dice == 6:
		w.hit("handler panicked")
		panic("no luck")
	case dice == 5:
		w.hit("handler broke its batch")
		return tx.Rollback()
	case dice == 4:
		w.hit("handler hung")
		<-ctx.Done()
		return ctx.Err()
	default:
		w.hit("handler failed")
		return errors.New("not now")
	}
}

// hear notes what another service told, and tells on.
func (w *town) hear(ctx context.Context, tx *skaldtest.Tx, svc *service.Service, name, other string, said word) error {
	key := other + " " + said.Key
	seen, _ := tx.Get("seen", key)
	tx.Put("seen", key, seen+strconv.Itoa(said.N)+" ")
	if said.Hops > 0 {
		if err := tell(ctx, tx, svc, name, said.Key, said.Hops-1); err != nil {
			return err
		}
	}
	w.mu.Lock()
	poisoned := w.poisoned == name+" "+key
	w.mu.Unlock()
	if poisoned {
		w.hit("message poisoned")
		return errors.New("poisoned")
	}
	return w.end(ctx, tx)
}

// tell tells the next word of a key.
func tell(ctx context.Context, tx *skaldtest.Tx, svc *service.Service, name, key string, hops int) error {
	before, _ := tx.Get("next", key)
	n, _ := strconv.Atoi(before)
	tx.Put("next", key, strconv.Itoa(n+1))
	return outbox.Publish(ctx, svc.Outbox(), tx, told(name), word{key, n, hops})
}

// transact runs fn at a service.
func (w *town) transact(name string, fn func(ctx context.Context, tx *skaldtest.Tx, m *member) error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	m := w.members[name][0]
	err := service.Transact(ctx, m.service, func(ctx context.Context, tx *skaldtest.Tx) error { return fn(ctx, tx, m) })
	if err != nil {
		w.broken("a transaction at %s: %v", name, err)
	}
}

func (w *town) pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
}

func (w *town) held(name string) []inbox.Held {
	held, err := w.stores[name].ListHeld(w.t.Context(), "", 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	return held
}

// redrive tries everything again that is held.
func (w *town) redrive() {
	for _, name := range townNames {
		for _, h := range w.held(name) {
			if _, err := w.members[name][0].service.Redrive(w.t.Context(), h.Message.ID); err != nil {
				w.broken("redrive at %s: %v", name, err)
			}
		}
	}
}

// checkWords compares what was told with what was heard: of every key the first words, in order
// and each once, and the others held, in order.
func (w *town) checkWords() {
	for _, name := range townNames {
		waiting := map[string]string{}
		for _, h := range w.held(name) {
			var said word
			if err := json.Unmarshal(h.Message.Payload, &said); err == nil && h.Message.Kind == skald.KindEvent {
				waiting[h.Message.Source+" "+said.Key] += strconv.Itoa(said.N) + " "
			}
		}
		for _, other := range []string{neighbour(name, 1), neighbour(name, 2)} {
			for key, n := range w.stores[other].List("next") {
				var want strings.Builder
				for i := range atoi(n) {
					fmt.Fprint(&want, i, " ")
				}
				seen, _ := w.stores[name].Get("seen", other+" "+key)
				if got := seen + waiting[other+" "+key]; got != want.String() {
					w.broken("%s told %s words of %s; %s heard %sand holds %s", other, n, key, name, seen, waiting[other+" "+key])
				}
			}
		}
	}
}

// checkDeals compares how every deal ended with what was done for it.
func (w *town) checkDeals(deals map[string][]string) {
	for name, ids := range deals {
		effects := map[string]string{}
		for _, store := range w.stores {
			for what, n := range store.List("effects") {
				effects[what] = n
			}
		}
		for _, id := range ids {
			o, found, err := w.members[name][0].deals.Find(w.t.Context(), id)
			if err != nil || !found {
				w.broken("deal %s: found %t, %v", id, found, err)
				continue
			}
			var got []string
			for _, what := range []string{"noted", "crossed out", "reserve", "release", "pay", "deliver"} {
				got = append(got, orZero(effects[id+" "+what]))
			}
			done := strings.Join(got, "")
			w.hit(string(o.Status))
			switch {
			case o.Status == saga.Completed && done == "101011", o.Status == saga.Compensated && (done == "111100" || done == "110000"),
				o.Status == saga.Parked && o.Reason != "" && done == "101010":
			default:
				w.broken("deal %s is %s (%s), and its effects are %s", id, o.Status, o.Reason, done)
			}
		}
	}
}

func atoi(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

func orZero(n string) string {
	if n == "" {
		return "0"
	}
	return n
}
