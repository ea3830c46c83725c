package skaldtest_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// What docs/guide/isolation.md shows: orders that are paid from one account.

type purchase struct {
	Order   string `json:"order"`
	Account string `json:"account"`
	Amount  int    `json:"amount"`
}

func (p purchase) itself() purchase { return p }

func (p purchase) order() string { return p.Order }

func (p purchase) account() string { return p.Account }

const (
	orders   skald.Resource = "shop.order"
	accounts skald.Resource = "shop.account"
)

var takeCredit = skald.Command[purchase, struct{}]{
	Name: "shop.take-credit", Channel: "shop.accounting", Key: purchase.account, Refusals: []string{"no_credit"},
	Locks: accounts, // if it is not refused
}

var giveCredit = skald.Command[purchase, struct{}]{
	Name: "shop.give-credit", Channel: "shop.accounting", Key: purchase.account,
	Unlocks: accounts,
}

var cook = skald.Command[purchase, struct{}]{Name: "shop.cook", Channel: "shop.kitchen", Refusals: []string{"closed"}}

func createPurchase() saga.Definition[purchase] {
	return saga.Definition[purchase]{
		Name: "order.create",
		Compensatable: []saga.Compensatable[purchase]{
			{
				Name: "create",
				Do:   saga.Local(become("pending")).Locks(orders, purchase.order),
				Undo: saga.Local(become("rejected")).Unlocks(orders, purchase.order),
			},
			{Name: "take credit", Do: saga.Call(takeCredit, purchase.itself), Undo: saga.Call(giveCredit, purchase.itself)},
		},
		Pivot:     saga.Step[purchase]{Name: "cook", Do: saga.Call(cook, purchase.itself)},
		Retriable: []saga.Step[purchase]{{Name: "approve", Do: saga.Local(become("approved")).Unlocks(orders, purchase.order)}},
	}
}

func become(status string) func(context.Context, *skaldtest.Tx, *purchase) error {
	return func(_ context.Context, tx *skaldtest.Tx, p *purchase) error {
		tx.Put("orders", p.Order, status)
		return nil
	}
}

func take(_ context.Context, tx *skaldtest.Tx, p purchase) (struct{}, error) {
	credit, _ := tx.Get("credit", p.Account)
	left, _ := strconv.Atoi(credit)
	if left < p.Amount {
		return struct{}{}, skald.Refuse("no_credit", "the account has not that much credit")
	}
	tx.Put("credit", p.Account, strconv.Itoa(left-p.Amount))
	return struct{}{}, nil
}

func give(_ context.Context, tx *skaldtest.Tx, p purchase) (struct{}, error) {
	tx.Add("credit", p.Account, int64(p.Amount), 0)
	return struct{}{}, nil
}

func cooks(context.Context, *skaldtest.Tx, purchase) (struct{}, error) { return struct{}{}, nil }

func TestOrdersOfOneAccountDoNotDisturbEachOther(t *testing.T) {
	skaldtest.Interleave(t, skaldtest.Interleaving{}, func(s *skaldtest.Scene) {
		desk, accounting, kitchen := s.Service("desk"), s.Service("accounting"), s.Service("kitchen")
		create := saga.Register(desk, createPurchase())
		service.HandleCommand(accounting, takeCredit, take)
		service.HandleCommand(accounting, giveCredit, give)
		service.HandleCommand(kitchen, cook, cooks)

		s.Given("accounting", func(tx *skaldtest.Tx) { tx.Put("credit", "ann", "100") })
		for _, order := range []string{"1", "2"} {
			s.Do("order "+order+" is placed", "desk", func(ctx context.Context, tx *skaldtest.Tx) error {
				return create.Start(ctx, tx, order, purchase{Order: order, Account: "ann", Amount: 60})
			})
		}
		s.Rule("nobody owes anything", func(d skaldtest.Data) bool {
			left, err := strconv.Atoi(d.Get("accounting", "credit", "ann"))
			return err == nil && left >= 0
		})
	})
}

// A writer that belongs to no saga.
func rename(s *service.Service) func(ctx context.Context, tx *skaldtest.Tx, p purchase) error {
	return func(ctx context.Context, tx *skaldtest.Tx, p purchase) error {
		if err := s.Locks().Free(ctx, tx, accounts, p.Account); err != nil {
			return err // a *lock.Conflict: it says whose lock it is
		}
		tx.Put("names", p.Account, "Ann")
		return nil
	}
}

var charge = skald.Command[purchase, struct{}]{Name: "shop.charge", Channel: "shop.accounting", Key: purchase.account, Refusals: []string{"changed"}}

func chargeLater() saga.Step[purchase] {
	return saga.Step[purchase]{Name: "charge", Do: saga.Call(charge, purchase.itself).Again("changed")}
}

func TestWhatTheGuideShowsOfOtherWriters(t *testing.T) {
	if _, err := saga.Describe(saga.Definition[purchase]{Name: "order.charge", Pivot: chargeLater()}); err != nil {
		t.Error(err)
	}
	store := skaldtest.NewStore()
	s, err := service.New("accounting", store, skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := store.BeginTx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := rename(s)(t.Context(), tx, purchase{Account: "ann"}); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}
