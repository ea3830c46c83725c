package skaldtest

import (
	"context"
	"errors"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/saga"
)

// The scenes: for each anomaly a few sagas that show it.

// anomalyScene is one row of the matrix.
type anomalyScene struct {
	name    string
	anomaly Anomaly
	story   string
	set     func(s *anomalyShop)
	// prevented by these, as their documentation says.
	prevented []countermeasure
}

func anomalyScenes() []anomalyScene {
	return []anomalyScene{
		{
			"dirty read", DirtyRead, "an order is cancelled while another is created", cancelBesideCreate,
			[]countermeasure{semanticLock, pessimistic, byValueLarge},
		},
		{
			"lost update", LostUpdate, "two orders are created", createBesideCreate,
			[]countermeasure{semanticLock, commutative, rereadValue, versionFile, byValueLarge},
		},
		{
			"lost operation", LostUpdate, "an order is cancelled while it is created", cancelWhatIsCreated,
			[]countermeasure{semanticLock, versionFile, byValueLarge},
		},
		{
			"fuzzy read", FuzzyRead, "an order is revised while the credit changes", reviseBesideChange,
			[]countermeasure{semanticLock, rereadValue, byValueLarge},
		},
		{
			"write skew", WriteSkew, "two orders are created under one limit", createUnderALimit,
			[]countermeasure{semanticLock, byValueLarge},
		},
	}
}

// cancelBesideCreate: the cancelling gives credit back before the kitchen agrees.
func cancelBesideCreate(s *anomalyShop) {
	s.credits(40)
	s.scene.Rule("nobody owes", func(d Data) bool { return number(d.Get("accounting", "credit", "ann")) >= 0 })
	create := s.sagas(trade.reserving)
	cancel := s.sagas(trade.cancelling)
	s.do("order 1 is cancelled", cancel, "1", deal{Order: "1", Account: "ann", Amount: 60})
	s.do("order 2 is created", create, "2", deal{Order: "2", Account: "ann", Amount: 60})
}

// reserving creates an order, and takes credit for it at once.
func (t trade) reserving() saga.Definition[deal] {
	reserve := t.account("reserve-credit", func(tx sqlTx, d deal) (sight, error) {
		if t.measure == commutative {
			return sight{}, t.credit.Apply(context.Background(), tx, -d.Amount, d.Account)
		}
		now := tx.getCredit(d.Account)
		if now.Credit < d.Amount {
			return sight{}, skald.Refuse("no_credit", "the account has not that much credit")
		}
		tx.putCredit(d.Account, now.Credit-d.Amount)
		return sight{}, nil
	}, "no_credit")
	release := t.account("release-credit", func(tx sqlTx, d deal) (sight, error) { return sight{}, tx.add(d.Account, d.Amount) })
	return saga.Definition[deal]{
		Name: t.name("order.create"),
		Compensatable: []saga.Compensatable[deal]{
			begins("orders"),
			{Name: "reserve credit", Do: calls(reserve), Undo: calls(release)},
		},
		Pivot:     saga.Step[deal]{Name: "create ticket", Do: calls(t.ticket("create-ticket", "closed"))},
		Retriable: []saga.Step[deal]{{Name: "approve", Do: orderIs("orders", "approved")}},
	}
}

// add changes the credit whatever it is.
func (tx sqlTx) add(account string, amount int64) error {
	tx.Add("credit", account, amount, minInt64)
	tx.raiseVersion(account)
	return nil
}

const minInt64 = -1 << 63

// cancelling gives credit back, and takes it again when the kitchen refuses; behind the kitchen's word in the
// pessimistic view.
func (t trade) cancelling() saga.Definition[deal] {
	giveBack := t.account("give-back", func(tx sqlTx, d deal) (sight, error) { return sight{}, tx.add(d.Account, d.Amount) })
	takeBack := t.account("take-back", func(tx sqlTx, d deal) (sight, error) { return sight{}, tx.add(d.Account, -d.Amount) })
	d := saga.Definition[deal]{
		Name:          t.name("order.cancel"),
		Compensatable: []saga.Compensatable[deal]{begins("cancels")},
		Pivot:         saga.Step[deal]{Name: "cancel ticket", Do: calls(t.ticket("cancel-ticket", "cooking"))},
	}
	if t.measure == pessimistic {
		d.Retriable = append(d.Retriable, saga.Step[deal]{Name: "give credit back", Do: calls(giveBack)})
	} else {
		d.Compensatable = append(d.Compensatable, saga.Compensatable[deal]{Name: "give credit back", Do: calls(giveBack), Undo: calls(takeBack)})
	}
	d.Retriable = append(d.Retriable, saga.Step[deal]{Name: "cancel", Do: orderIs("cancels", "cancelled")})
	return d
}

// createBesideCreate: each reads the credit, and writes later what should be left.
func createBesideCreate(s *anomalyShop) {
	s.credits(200)
	s.scene.Rule("what is approved is charged", func(d Data) bool {
		charged := int64(0)
		for _, status := range d.List("order", "orders") {
			if status == "approved" {
				charged += 60
			}
		}
		return number(d.Get("accounting", "credit", "ann")) == 200-charged
	})
	create := s.sagas(trade.charging)
	for _, order := range []string{"1", "2"} {
		s.do("order "+order+" is created", create, order, deal{Order: order, Account: "ann", Amount: 60})
	}
}

func (t trade) checkCredit() skald.Command[deal, sight] {
	return t.account("check-credit", func(tx sqlTx, d deal) (sight, error) {
		now := tx.getCredit(d.Account)
		if now.Credit < d.Amount {
			return now, skald.Refuse("no_credit", "the account has not that much credit")
		}
		if t.measure == versionFile {
			now.Version = tx.file(d.Account).Version
		}
		return now, nil
	}, "no_credit")
}

// charging creates an order, after a look at the credit.
func (t trade) charging() saga.Definition[deal] {
	uncharge := t.account("uncharge", func(tx sqlTx, d deal) (sight, error) {
		switch t.measure {
		case commutative:
			return sight{}, t.credit.Undo(context.Background(), tx, -d.Amount, d.Account)
		case rereadValue:
			return sight{}, tx.add(d.Account, d.Amount)
		case versionFile:
			return sight{}, tx.recordNow(d.Account, d.Amount)
		default:
			tx.putCredit(d.Account, d.Seen)
			return sight{}, nil
		}
	})
	charge := t.account("charge", t.chargeSeen, "closed", "no_credit", "changed")
	check := saga.Compensatable[deal]{Name: "check credit", Do: calls(t.checkCredit()).Then((*deal).saw)}
	if t.locks {
		check.Undo = saga.Call(t.account("uncheck-credit", done), deal.unread)
	}
	return saga.Definition[deal]{
		Name: t.name("order.create"),
		Compensatable: []saga.Compensatable[deal]{
			begins("orders"), check,
			{Name: "charge", Do: t.again(charge), Undo: calls(uncharge)},
		},
		Pivot:     saga.Step[deal]{Name: "create ticket", Do: calls(t.ticket("create-ticket", "closed"))},
		Retriable: []saga.Step[deal]{{Name: "approve", Do: orderIs("orders", "approved")}},
	}
}

// again calls a command that may find that what was read has changed.
func (t trade) again(charge skald.Command[deal, sight]) saga.CallAction[deal, sight] {
	if t.measure == rereadValue || t.measure == versionFile {
		return calls(charge).Again("changed")
	}
	return calls(charge)
}

// chargeSeen writes the credit that is left of what was seen.
func (t trade) chargeSeen(tx sqlTx, d deal) (sight, error) {
	switch t.measure {
	case commutative:
		return sight{}, t.credit.Apply(context.Background(), tx, -d.Amount, d.Account)
	case rereadValue:
		return sight{}, t.charge.Write(context.Background(), tx, d.Version, d.Seen-d.Amount, d.Account)
	case versionFile:
		return sight{}, t.chargeInOrder(tx, d)
	default:
		tx.putCredit(d.Account, d.Seen-d.Amount)
		return sight{}, nil
	}
}

// chargeInOrder has the charge follow the version of the account that was seen.
func (t trade) chargeInOrder(tx sqlTx, d deal) error {
	return tx.record(d.Account, isolation.Operation[int64]{After: d.Version, Version: madeBy(number(d.Order), d.Version), Content: d.Seen - d.Amount})
}

// madeBy is a version after another one, from the share of the numbers that an order has for itself. Share 0 is of those
// that write in the transaction in which they read.
func madeBy(share, after int64) int64 { return after - after%3 + 3 + share }

// record records that the account is to have a credit, and writes what is due.
func (tx sqlTx) record(account string, o isolation.Operation[int64]) error {
	f, due, err := tx.file(account).Record(o)
	if tx.careless {
		f, due, err = tx.file(account), []isolation.Operation[int64]{o}, nil
	}
	if errors.Is(err, isolation.ErrOvertaken) {
		return skald.Refuse("changed", "the credit has changed since it was read")
	}
	if err != nil {
		return err
	}
	for _, d := range due {
		tx.putCredit(account, d.Content)
	}
	tx.view.business.put(businessKey{"files", account}, encodeFile(f))
	return nil
}

// recordNow records a credit that follows from the one that is there now.
func (tx sqlTx) recordNow(account string, difference int64) error {
	version := tx.file(account).Version
	return tx.record(account, isolation.Operation[int64]{After: version, Version: madeBy(0, version), Content: tx.getCredit(account).Credit + difference})
}

// file is a column of the account's row.
func (tx sqlTx) file(account string) isolation.VersionFile[int64] {
	encoded, _ := tx.view.business.get(businessKey{"files", account})
	return file[int64](encoded)
}

// cancelWhatIsCreated: the card is authorized after the order was cancelled.
func cancelWhatIsCreated(s *anomalyShop) {
	s.scene.Rule("the card of a cancelled order is not charged", func(d Data) bool {
		return d.Get("order", "cancels", "1") != "cancelled" || d.Get("accounting", "authorizations", "1") != "authorized"
	})
	create := s.sagas(trade.authorizing)
	cancel := s.sagas(trade.reversing)
	s.do("order 1 is created", create, "1", deal{Order: "1", Account: "ann", Amount: 60})
	s.scene.Do("order 1 is cancelled", "order", func(ctx context.Context, tx *Tx) error {
		if _, there := tx.view.business.get(businessKey{"orders", "1"}); !there { // seen, and not acted on
			return errors.New("there is no order 1 yet")
		}
		return cancel(ctx, tx, "1", deal{Order: "1", Account: "ann", Amount: 60})
	})
}

// authorization is a command to accounting about a card, whose row has a version file where that is the measure.
func (t trade) authorization(name, status string, after int64) skald.Command[deal, sight] {
	return t.command(t.accounting, name, "accounting", byOrder, func(tx sqlTx, d deal) (sight, error) {
		if after > 0 { // it looks whether there is anything to reverse
			tx.Get("authorizations", d.Order)
		}
		if t.measure == versionFile {
			return sight{}, tx.authorizeInOrder(d.Order, isolation.Operation[string]{After: after, Version: after + 1, Content: status})
		}
		tx.Put("authorizations", d.Order, status)
		return sight{}, nil
	})
}

func (tx sqlTx) authorizeInOrder(order string, o isolation.Operation[string]) error {
	kept, _ := tx.view.business.get(businessKey{"files", order})
	f, due, err := file[string](kept).Record(o)
	if tx.careless {
		due = []isolation.Operation[string]{o}
	}
	if err != nil {
		return err
	}
	for _, d := range due {
		tx.Put("authorizations", order, d.Content)
	}
	tx.view.business.put(businessKey{"files", order}, encodeFile(f))
	return nil
}

// beginsOnOrder is begins, under a lock on the order where there are locks.
func (t trade) beginsOnOrder(table string) saga.Compensatable[deal] {
	first := begins(table)
	if t.locks {
		first.Do = orderIs(table, "pending").Locks("shop.order", byOrder)
		first.Undo = orderIs(table, "given up").Unlocks("shop.order", byOrder)
	}
	return first
}

func (t trade) authorizing() saga.Definition[deal] {
	return saga.Definition[deal]{
		Name:          t.name("order.create"),
		Compensatable: []saga.Compensatable[deal]{t.beginsOnOrder("orders")},
		Pivot:         saga.Step[deal]{Name: "create ticket", Do: calls(t.ticket("create-ticket", "closed"))},
		Retriable: []saga.Step[deal]{
			{Name: "authorize card", Do: calls(t.authorization("authorize", "authorized", 0))},
			{Name: "approve", Do: orderIs("orders", "approved")},
		},
	}
}

func (t trade) reversing() saga.Definition[deal] {
	return saga.Definition[deal]{
		Name:          t.name("order.cancel"),
		Compensatable: []saga.Compensatable[deal]{t.beginsOnOrder("cancels")},
		Pivot:         saga.Step[deal]{Name: "cancel ticket", Do: calls(t.ticket("cancel-ticket", "cooking"))},
		Retriable: []saga.Step[deal]{
			{Name: "reverse authorization", Do: calls(t.authorization("reverse", "reversed", 1))},
			{Name: "cancel", Do: orderIs("cancels", "cancelled")},
		},
	}
}

// reviseBesideChange: the credit is looked at when the revision begins, and again when it is charged.
func reviseBesideChange(s *anomalyShop) {
	s.credits(200)
	revise := s.sagas(trade.revising)
	change := s.sagas(trade.changing)
	s.do("order 1 is revised", revise, "1", deal{Order: "1", Account: "ann", Amount: 60})
	s.do("the credit is changed", change, "ann", deal{Order: "change", Account: "ann", Amount: 100})
}

func (t trade) revising() saga.Definition[deal] {
	check := saga.Compensatable[deal]{Name: "check credit", Do: calls(t.checkCredit()).Then((*deal).saw)}
	if t.locks {
		check.Undo = saga.Call(t.account("uncheck-credit", done), deal.unread)
	}
	charge := t.account("charge-anew", func(tx sqlTx, d deal) (sight, error) {
		switch t.measure {
		case commutative:
			return t.chargeSeen(tx, d)
		case rereadValue, versionFile: // it looks again, and goes by what it saw first
			tx.getCredit(d.Account)
			return t.chargeSeen(tx, d)
		default: // it looks again, and goes by that
			d.saw(tx.getCredit(d.Account))
			if d.Seen < d.Amount {
				return sight{}, skald.Refuse("no_credit", "the account has not that much credit")
			}
			return t.chargeSeen(tx, d)
		}
	}, "no_credit", "changed")
	return saga.Definition[deal]{
		Name: t.name("order.revise"),
		Compensatable: []saga.Compensatable[deal]{
			begins("revisions"), check,
			{Name: "revise ticket", Do: calls(t.ticket("revise-ticket", "cooking")), Undo: calls(t.ticket("restore-ticket"))},
		},
		Pivot:     saga.Step[deal]{Name: "charge", Do: t.again(charge)},
		Retriable: []saga.Step[deal]{{Name: "revise", Do: orderIs("revisions", "revised")}},
	}
}

func (t trade) changing() saga.Definition[deal] {
	change := t.account("change-credit", func(tx sqlTx, d deal) (sight, error) {
		if t.measure == versionFile {
			return sight{}, tx.recordNow(d.Account, -d.Amount)
		}
		tx.putCredit(d.Account, tx.getCredit(d.Account).Credit-d.Amount)
		return sight{}, nil
	}, "no")
	return saga.Definition[deal]{
		Name:          t.name("credit.change"),
		Compensatable: []saga.Compensatable[deal]{begins("changes")},
		Pivot:         saga.Step[deal]{Name: "change credit", Do: calls(change)},
		Retriable:     []saga.Step[deal]{{Name: "note", Do: orderIs("changes", "changed")}},
	}
}

// createUnderALimit: what is open on both orders together must not exceed the limit.
func createUnderALimit(s *anomalyShop) {
	s.scene.Given("accounting", func(tx *Tx) {
		tx.Put("open", "1", "0")
		tx.Put("open", "2", "0")
	})
	s.scene.Rule("no more than 100 is open", func(d Data) bool {
		open := d.List("accounting", "open")
		return number(open["1"])+number(open["2"]) <= 100
	})
	create := s.sagas(trade.opening)
	for _, order := range []string{"1", "2"} {
		s.do("order "+order+" is created", create, order, deal{Order: order, Account: "ann", Amount: 60})
	}
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func (t trade) opening() saga.Definition[deal] {
	check := saga.Compensatable[deal]{Name: "check what is open", Do: calls(t.account("check-open", func(tx sqlTx, d deal) (sight, error) {
		one, _ := tx.Get("open", "1")
		other, _ := tx.Get("open", "2")
		if number(one)+number(other)+d.Amount > 100 {
			return sight{}, skald.Refuse("limit", "more would be open than may be")
		}
		return sight{}, nil
	}, "limit"))}
	if t.locks {
		check.Undo = saga.Call(t.account("uncheck-credit", done), deal.unread)
	}
	put := func(amount func(deal) int64) func(tx sqlTx, d deal) (sight, error) {
		return func(tx sqlTx, d deal) (sight, error) {
			if t.measure == commutative {
				tx.Add("open", d.Order, 2*amount(d)-d.Amount, minInt64)
				return sight{}, nil
			}
			tx.Put("open", d.Order, strconv.FormatInt(amount(d), 10))
			return sight{}, nil
		}
	}
	open := t.account("open", put(func(d deal) int64 { return d.Amount }))
	shut := t.account("shut", put(func(deal) int64 { return 0 }))
	return saga.Definition[deal]{
		Name:          t.name("order.create"),
		Compensatable: []saga.Compensatable[deal]{begins("orders"), check, {Name: "open", Do: calls(open), Undo: calls(shut)}},
		Pivot:         saga.Step[deal]{Name: "create ticket", Do: calls(t.ticket("create-ticket", "closed"))},
		Retriable:     []saga.Step[deal]{{Name: "approve", Do: orderIs("orders", "approved")}},
	}
}

// hotOrders is all of them at once, on two orders and one account: too large to run every interleaving.
func hotOrders(s *anomalyShop) {
	s.credits(200)
	create, revise, change, cancel := s.sagas(trade.charging), s.sagas(trade.revising), s.sagas(trade.changing), s.sagas(trade.cancelling)
	for _, order := range []string{"1", "2"} {
		s.do("order "+order+" is created", create, order, deal{Order: order, Account: "ann", Amount: 60})
	}
	s.do("order 1 is revised", revise, "1", deal{Order: "1", Account: "ann", Amount: 60})
	s.do("order 2 is cancelled", cancel, "2", deal{Order: "2", Account: "ann", Amount: 60})
	s.do("the credit is changed", change, "ann", deal{Order: "change", Account: "ann", Amount: 60})
}
