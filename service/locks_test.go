package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/lock"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// A bank of two branches, each with accounts of its own, on which semantic locks are. A transfer marks an account
// of each branch as pending, decides, and settles both.

type mark struct {
	Account string `json:"account"`
	By      string `json:"by"`
}

const (
	east      skald.Resource = "bank.east.account"
	west      skald.Resource = "bank.west.account"
	atTheDesk skald.Resource = "bank.desk.account"
)

// counter is what one branch is asked to do.
type counter struct{ hold, free, settle skald.Command[mark, ok] }

func counterOf(r skald.Resource) counter {
	channel, key := strings.TrimSuffix(string(r), ".account"), func(m mark) string { return m.Account }
	return counter{
		hold:   skald.Command[mark, ok]{Name: channel + ".hold", Channel: channel, Key: key, Locks: r, Refusals: []string{"closed"}},
		free:   skald.Command[mark, ok]{Name: channel + ".free", Channel: channel, Key: key, Unlocks: r},
		settle: skald.Command[mark, ok]{Name: channel + ".settle", Channel: channel, Key: key, Unlocks: r},
	}
}

var (
	inEast, inWest = counterOf(east), counterOf(west)
	clearing       = skald.Command[mark, ok]{Name: "bank.clearing.clear", Channel: "bank.clearing", Refusals: []string{"no_cover"}}
)

// transfer is the saga's state.
type transfer struct {
	Name   string `json:"name"`
	From   string `json:"from"`
	To     string `json:"to"`
	Fail   bool   `json:"fail,omitempty"`
	Rounds int    `json:"rounds,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (t transfer) from() mark { return mark{t.From, t.Name} }
func (t transfer) to() mark   { return mark{t.To, t.Name} }
func (t *transfer) because(r skald.Refusal) {
	t.Reason = r.Code
}

// moves is a transfer that locks at one branch, and then at the other.
func moves(name string, first, second counter, policy lock.Policy) saga.Definition[transfer] {
	return saga.Definition[transfer]{
		Name: name,
		Compensatable: []saga.Compensatable[transfer]{
			{Name: "hold first", Do: saga.Call(first.hold, transfer.from).Refused((*transfer).because), Undo: saga.Call(first.free, transfer.from), Locked: policy},
			{Name: "hold second", Do: saga.Call(second.hold, transfer.to).Then(func(t *transfer, _ ok) { t.Rounds++ }).Refused((*transfer).because), Undo: saga.Call(second.free, transfer.to), Locked: policy},
		},
		Pivot: saga.Step[transfer]{Name: "clear", Do: saga.Call(clearing, transfer.from).Refused((*transfer).because)},
		Retriable: []saga.Step[transfer]{
			{Name: "settle first", Do: saga.Call(first.settle, transfer.from)},
			{Name: "settle second", Do: saga.Call(second.settle, transfer.to)},
		},
	}
}

// bank is the branches, the clearing and the desk that orchestrates, each with its database.
type bank struct {
	t         *testing.T
	broker    *skaldtest.Broker
	stores    map[string]*skaldtest.Store
	services  map[string]*service.Service
	eastFirst *saga.Saga[transfer]
	westFirst *saga.Saga[transfer]
	holdsUp   atomic.Value // whom the clearing does not answer, by a part of their names; empty for all
	shut      atomic.Value // account that answers nothing
	forced    atomic.Bool  // an operator has taken a lock away
	batched   bool         // the branches handle the commands of a batch together
	writes    atomic.Int64
	fault     atomic.Pointer[string]
	also      map[string]func(*service.Service)
	config    service.Config
	register  func(*bank)
	stops     map[string]func()
}

func (b *bank) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.fault.CompareAndSwap(nil, &text)
}

// inBank runs fn in a bubble of virtual time, with everything up.
func inBank(t *testing.T, config service.Config, register func(b *bank), fn func(b *bank), options ...func(*bank)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		config.Logger = slog.New(slog.DiscardHandler)
		b := &bank{
			t: t, broker: skaldtest.NewBroker(skaldtest.BrokerConfig{}), config: config, register: register,
			stores: map[string]*skaldtest.Store{}, services: map[string]*service.Service{}, stops: map[string]func(){},
		}
		for _, option := range options {
			option(b)
		}
		for _, name := range bankers {
			b.stores[name] = skaldtest.NewStore()
			b.open(name)
		}
		synctest.Wait()
		fn(b)
		for _, stop := range b.stops {
			stop()
		}
		if fault := b.fault.Load(); fault != nil {
			t.Error(*fault)
		}
	})
}

var bankers = []string{"east", "west", "clearing", "desk"}

// open starts a service on its database.
func (b *bank) open(name string) {
	b.t.Helper()
	s, err := service.New(name, b.stores[name], b.broker, b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.services[name] = s
	switch name {
	case "east":
		b.branch("east", inEast)
	case "west":
		b.branch("west", inWest)
	case "clearing":
		service.HandleCommand(s, clearing, b.clear)
	default:
		b.register(b)
	}
	if also := b.also[name]; also != nil {
		also(s)
	}
	ctx, stop := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.stops[name] = func() {
		stop()
		if err := <-ended; err != nil {
			b.t.Logf("%s: %v", name, err)
		}
	}
}

// crash kills a service at once; its database stays.
func (b *bank) crash(name string) {
	b.t.Helper()
	b.stores[name] = b.stores[name].Crash()
	b.stops[name]()
	b.open(name)
}

func transfers(b *bank) {
	b.eastFirst = saga.Register(b.services["desk"], moves("east.first", inEast, inWest, lock.Wait))
	b.westFirst = saga.Register(b.services["desk"], moves("west.first", inWest, inEast, lock.Wait))
}

// branch is a service that notices when two sagas are at one account at once.
func (b *bank) branch(name string, c counter) {
	s := b.services[name]
	handle := func(command skald.Command[mark, ok], one func(context.Context, *skaldtest.Tx, mark) (ok, error)) {
		if b.batched {
			service.HandleCommands(s, command, oneByOne(one))
		} else {
			service.HandleCommand(s, command, one)
		}
	}
	handle(c.hold, func(_ context.Context, tx *skaldtest.Tx, m mark) (ok, error) {
		if m.Account == "closed" {
			return ok{}, skald.Refuse("closed", "the account is closed")
		}
		if m.Account == b.shut.Load() {
			return ok{}, errors.New("closed for lunch")
		}
		if by, _ := tx.Get("pending", m.Account); by != "" && by != m.By && !b.forced.Load() {
			b.wrong("%s: %s is at account %s, and %s comes", name, by, m.Account, m.By)
		}
		tx.Put("pending", m.Account, m.By)
		return ok{}, nil
	})
	leave := func(_ context.Context, tx *skaldtest.Tx, m mark) (ok, error) {
		if by, _ := tx.Get("pending", m.Account); by != m.By && !b.forced.Load() {
			b.wrong("%s: %s leaves account %s, at which is %q", name, m.By, m.Account, by)
		}
		tx.Put("pending", m.Account, "")
		return ok{}, nil
	}
	handle(c.free, leave)
	handle(c.settle, func(ctx context.Context, tx *skaldtest.Tx, m mark) (ok, error) {
		b.writes.Add(1)
		return leave(ctx, tx, m)
	})
}

// oneByOne handles the commands of a batch one after the other.
func oneByOne(one func(context.Context, *skaldtest.Tx, mark) (ok, error)) func(context.Context, *skaldtest.Tx, []*service.Request[mark, ok]) error {
	return func(ctx context.Context, tx *skaldtest.Tx, requests []*service.Request[mark, ok]) error {
		for _, r := range requests {
			answer, err := one(ctx, tx, r.Content)
			refusal, refused := skald.AsRefusal(err)
			switch {
			case refused:
				r.Refuse(refusal)
			case err != nil:
				return err
			default:
				r.Answer(answer)
			}
		}
		return nil
	}
}

func (b *bank) clear(_ context.Context, _ *skaldtest.Tx, m mark) (ok, error) {
	if whom, some := b.holdsUp.Load().(string); some && strings.Contains(m.By, whom) {
		return ok{}, errors.New("closed for lunch")
	}
	if strings.HasPrefix(m.By, "bad") {
		return ok{}, skald.Refuse("no_cover", "no")
	}
	return ok{}, nil
}

func (b *bank) start(s *saga.Saga[transfer], t transfer) {
	b.t.Helper()
	err := service.Transact(b.t.Context(), b.services["desk"], func(ctx context.Context, tx *skaldtest.Tx) error {
		return s.Start(ctx, tx, t.Name, t)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bank) pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
}

func (b *bank) came(s *saga.Saga[transfer], name string) saga.Outcome[transfer] {
	b.t.Helper()
	o, found, err := s.Find(b.t.Context(), name)
	if err != nil || !found {
		b.t.Fatalf("transfer %s: found %t, %v", name, found, err)
	}
	return o
}

func (b *bank) history(id skald.ID) []string {
	b.t.Helper()
	entries, err := b.stores["desk"].ReadHistory(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = strings.TrimSpace(e.Step + " " + e.What)
	}
	return lines
}

// locks lists who holds and who waits, over all databases.
func (b *bank) locks() []string {
	b.t.Helper()
	var all []string
	for _, name := range []string{"east", "west", "desk"} {
		rows, err := b.services[name].Locks().List(b.t.Context(), "", lock.Key{}, 1000)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range rows {
			all = append(all, fmt.Sprintf("%s %s %d", r.Key, r.Name, r.Place))
		}
	}
	return all
}

func (b *bank) nothingLeft() {
	b.t.Helper()
	if left := b.locks(); len(left) > 0 {
		b.t.Errorf("locks are left: %q", left)
	}
	for name, s := range b.services {
		held, err := s.Held(b.t.Context(), 0, 100)
		if err != nil || len(held) > 0 {
			b.t.Errorf("%s holds %v, %v", name, held, err)
		}
	}
}

// A then B, and B then A, over two services.
//
// Faults: 65.
func TestSagasThatLockInOppositeOrdersAllEnd(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { lockInOppositeOrders(t) })
	t.Run("together", func(t *testing.T) { lockInOppositeOrders(t, func(b *bank) { b.batched = true }) })
}

func lockInOppositeOrders(t *testing.T, options ...func(*bank)) {
	t.Helper()
	pairs := 500
	if testing.Short() {
		pairs = 50
	}
	inBank(t, service.Config{}, transfers, func(b *bank) {
		began := time.Now()
		for i := range pairs {
			account := fmt.Sprint(i % 5)
			b.start(b.eastFirst, transfer{Name: fmt.Sprintf("e%d", i), From: account, To: account})
			b.start(b.westFirst, transfer{Name: fmt.Sprintf("w%d", i), From: account, To: account})
		}
		var ended, rounds, most int
		for ended < 2*pairs && time.Since(began) < 4*time.Minute {
			b.pass(time.Second)
			ended = 0
			for i := range pairs {
				for _, o := range []saga.Outcome[transfer]{b.came(b.eastFirst, fmt.Sprintf("e%d", i)), b.came(b.westFirst, fmt.Sprintf("w%d", i))} {
					if o.Status.Ended() {
						ended++
					}
				}
			}
		}
		for i := range pairs {
			for _, o := range []saga.Outcome[transfer]{b.came(b.eastFirst, fmt.Sprintf("e%d", i)), b.came(b.westFirst, fmt.Sprintf("w%d", i))} {
				if o.Status != saga.Completed || o.State.Reason != "" || o.State.Rounds != 1 {
					b.t.Errorf("pair %d: %+v\n%q", i, o, b.history(o.ID))
				}
				again := count(b.history(o.ID), "started again")
				rounds, most = rounds+again, max(most, again)
			}
		}
		if n := int(b.writes.Load()); n != 4*pairs {
			b.t.Errorf("%d accounts were settled of %d", n, 4*pairs)
		}
		b.nothingLeft()
		b.t.Logf("%d sagas ended in %s; started again %d times, one of them %d times", ended, time.Since(began).Round(time.Millisecond), rounds, most)
	}, options...)
}

func count(lines []string, what string) int {
	n := 0
	for _, line := range lines {
		if line == what {
			n++
		}
	}
	return n
}

func TestAnOlderSagaWaitsAndAYoungerOneStartsAgain(t *testing.T) {
	inBank(t, service.Config{}, transfers, func(b *bank) {
		b.holdsUp.Store("")
		b.start(b.eastFirst, transfer{Name: "older", From: "1", To: "2"})
		b.pass(time.Second)
		b.start(b.eastFirst, transfer{Name: "younger", From: "1", To: "3"})
		b.pass(time.Second)
		want := []string{`bank.east.account "1" east.first 1`, `bank.east.account "1" east.first 2`, `bank.west.account "2" east.first 1`}
		if got := b.locks(); !slices.Equal(got, want) {
			b.t.Errorf("locks: %q", got)
		}
		if got := b.came(b.eastFirst, "younger"); got.Status != saga.Running || !strings.Contains(got.Reason, "locked by saga east.first") {
			b.t.Errorf("it is %+v", got)
		}
		b.holdsUp.Store("nobody")
		b.pass(time.Minute)
		for name, want := range map[string][]string{"older": nil, "younger": {"hold first met a lock", "hold first lock awaited", "started again"}} {
			o := b.came(b.eastFirst, name)
			met := slices.DeleteFunc(b.history(o.ID), func(line string) bool {
				return !strings.Contains(line, "lock") && !strings.Contains(line, "again")
			})
			if o.Status != saga.Completed || !slices.Equal(met, want) {
				b.t.Errorf("%s: %s, %q", name, o.Status, met)
			}
		}
		b.nothingLeft()
	})
}
