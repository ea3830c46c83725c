package skaldtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

// A shop on which every anomaly shows: sagas that create, cancel and revise orders, and change the credit of the account
// that pays for them. Each countermeasure can be switched on by itself.

// countermeasure is what a shop does against anomalies.
type countermeasure string

const (
	noMeasure    countermeasure = "none"
	semanticLock countermeasure = "semantic lock"
	commutative  countermeasure = "commutative update"
	pessimistic  countermeasure = "pessimistic view"
	rereadValue  countermeasure = "reread value"
	versionFile  countermeasure = "version file"
	byValueLarge countermeasure = "by value (large)"
	byValueSmall countermeasure = "by value (small)"
)

// deal is the state of every saga of the shop, and what its commands carry.
type deal struct {
	Order   string `json:"order"`
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
	// What was read of the account.
	Seen    int64 `json:"seen,omitempty"`
	Version int64 `json:"version,omitempty"`
}

func (d deal) itself() deal { return d }

// unread is the deal as it was before anything was read for it: what an undo is built from.
func (d deal) unread() deal { return deal{Order: d.Order, Account: d.Account, Amount: d.Amount} }

func (d *deal) saw(s sight) { d.Seen, d.Version = s.Credit, s.Version }

// sight is what a participant answers.
type sight struct {
	Credit  int64 `json:"credit"`
	Version int64 `json:"version"`
}

func byAccount(d deal) string { return d.Account }

func byOrder(d deal) string { return d.Order }

// The statements of a service with an SQL database, which the twin understands word for word.
const (
	addCredit = `UPDATE accounts SET credit = credit + $1 WHERE id = $2 AND credit + $1 >= 0`
	setCredit = `UPDATE accounts SET credit = $1, version = version + 1 WHERE id = $2 AND version = $3`
)

// sqlTx executes these statements.
type sqlTx struct {
	*Tx
	careless bool // it does not look at versions
}

func (tx sqlTx) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	done := false
	switch account := args[1].(string); query {
	case addCredit:
		done = tx.Add("credit", account, args[0].(int64), 0)
	case setCredit:
		if tx.careless || tx.version(account) == args[2].(int64) { // it looks at the version, and not at the credit
			tx.putCredit(account, args[0].(int64))
			done = true
		}
	default:
		return nil, fmt.Errorf("the twin does not know the statement %s", query)
	}
	if !done {
		return rowsAffected(0), nil
	}
	return rowsAffected(1), nil
}

type rowsAffected int64

func (r rowsAffected) LastInsertId() (int64, error) { return 0, errors.ErrUnsupported }

func (r rowsAffected) RowsAffected() (int64, error) { return int64(r), nil }

// version is a column of the account's row: what reads or writes the row has it.
func (tx sqlTx) version(account string) int64 {
	version, _ := tx.view.business.get(businessKey{"versions", account})
	n, _ := strconv.ParseInt(version, 10, 64)
	return n
}

func (tx sqlTx) getCredit(account string) sight {
	value, _ := tx.Get("credit", account)
	n, _ := strconv.ParseInt(value, 10, 64)
	return sight{n, tx.version(account)}
}

// putCredit writes the row, and raises its version.
func (tx sqlTx) putCredit(account string, credit int64) {
	tx.Put("credit", account, strconv.FormatInt(credit, 10))
	tx.raiseVersion(account)
}

func (tx sqlTx) raiseVersion(account string) {
	tx.view.business.put(businessKey{"versions", account}, strconv.FormatInt(tx.version(account)+1, 10))
}

// anomalyShop is the three services.
type anomalyShop struct {
	scene                      *Scene
	measure                    countermeasure
	order, accounting, kitchen *service.Service
	handled                    map[string]bool
	byValue                    *isolation.ByValue[deal, string]
	credit                     *isolation.Delta
	charge                     *isolation.Reread
	careless                   bool // versions are kept, and nobody looks at them
}

func newAnomalyShop(scene *Scene, measure countermeasure) *anomalyShop {
	s := &anomalyShop{
		scene: scene, measure: measure, order: scene.Service("order"), accounting: scene.Service("accounting"), kitchen: scene.Service("kitchen"),
		handled: map[string]bool{},
	}
	large := int64(50)
	if measure == byValueSmall {
		large = 1000
	}
	var faults [3]error
	s.credit, faults[0] = isolation.NewDelta(addCredit, skald.Refuse("no_credit", "the account has not that much credit"))
	s.charge, faults[1] = isolation.NewReread(setCredit, skald.Refuse("changed", "the credit has changed since it was read"))
	s.byValue, faults[2] = isolation.NewByValue(func(d deal) int64 { return d.Amount },
		isolation.Rule[deal, string]{Name: "large", From: large, Path: "strict"}, isolation.Rule[deal, string]{Name: "all others", Path: "quick"})
	if err := errors.Join(faults[:]...); err != nil {
		panic(err)
	}
	return s
}

// trade is the sagas of one path through the shop: with locks, or without.
type trade struct {
	*anomalyShop
	locks bool
}

// command declares a command of the path and registers its handler, once.
func (t trade) command(at *service.Service, name, channel string, key func(deal) string, handle func(tx sqlTx, d deal) (sight, error), refusals ...string) skald.Command[deal, sight] {
	if t.locks {
		name += "-strict"
	}
	c := skald.Command[deal, sight]{Name: "shop." + name, Channel: "shop." + channel, Key: key, Refusals: refusals}
	if c = locked(c, name); t.handled[name] {
		return c
	}
	t.handled[name] = true
	service.HandleCommand(at, c, func(_ context.Context, tx *Tx, d deal) (sight, error) { return handle(sqlTx{tx, t.careless}, d) })
	return c
}

// accountLocks are the commands that take the lock on their account, and those that release it.
var accountLocks = map[string]bool{"check-credit-strict": true, "give-back-strict": true, "reserve-credit-strict": true, "change-credit-strict": true, "check-open-strict": true}

var accountUnlocks = map[string]bool{"uncheck-credit-strict": true, "take-back-strict": true, "release-credit-strict": true}

func locked(c skald.Command[deal, sight], name string) skald.Command[deal, sight] {
	const account skald.Resource = "shop.account"
	if accountLocks[name] {
		c.Locks = account
	}
	if accountUnlocks[name] {
		c.Unlocks = account
	}
	return c
}

func done(sqlTx, deal) (sight, error) { return sight{}, nil }

// ticket is a command to the kitchen, which has no part in the anomalies.
func (t trade) ticket(name string, refusals ...string) skald.Command[deal, sight] {
	return t.command(t.kitchen, name, "kitchen", byOrder, done, refusals...)
}

// account is a command to accounting.
func (t trade) account(name string, handle func(tx sqlTx, d deal) (sight, error), refusals ...string) skald.Command[deal, sight] {
	return t.command(t.accounting, name, "accounting", byAccount, handle, refusals...)
}

func (t trade) name(saga string) string {
	if t.locks {
		return saga + "-strict"
	}
	return saga
}

// orderIs is a local step that writes an order's status.
func orderIs(table, status string) saga.LocalAction[deal] {
	return saga.Local(func(_ context.Context, tx *Tx, d *deal) error {
		tx.Put(table, d.Order, status)
		return nil
	})
}

// begins is the first step of a saga: it is seen under its own name in its table.
func begins(table string) saga.Compensatable[deal] {
	return saga.Compensatable[deal]{Name: "begin", Do: orderIs(table, "pending"), Undo: orderIs(table, "given up")}
}

func calls(command skald.Command[deal, sight]) saga.CallAction[deal, sight] {
	return saga.Call(command, deal.itself)
}

// sagas registers a definition for each path that the shop has, and starts the one that a deal takes.
func (s *anomalyShop) sagas(define func(t trade) saga.Definition[deal]) (start func(ctx context.Context, tx *Tx, key string, d deal) error) {
	paths := map[string]*saga.Saga[deal]{}
	register := func(locks bool) *saga.Saga[deal] { return saga.Register(s.order, define(trade{s, locks})) }
	switch s.measure {
	case semanticLock:
		paths["quick"] = register(true)
		paths["strict"] = paths["quick"]
	case byValueLarge, byValueSmall:
		paths["quick"], paths["strict"] = register(false), register(true)
	default:
		paths["quick"] = register(false)
		paths["strict"] = paths["quick"]
	}
	return func(ctx context.Context, tx *Tx, key string, d deal) error {
		return paths[s.byValue.For(d).Path].Start(ctx, tx, key, d)
	}
}

// do has a saga of a deal started, at any moment.
func (s *anomalyShop) do(what string, start func(ctx context.Context, tx *Tx, key string, d deal) error, key string, d deal) {
	s.scene.Do(what, "order", func(ctx context.Context, tx *Tx) error { return start(ctx, tx, key, d) })
}

func (s *anomalyShop) credits(amount int64) {
	s.scene.Given("accounting", func(tx *Tx) { tx.Put("credit", "ann", strconv.FormatInt(amount, 10)) })
}

// A rereading, and one by a version file.

// file is a record's, as JSON.
func file[O any](encoded string) (f isolation.VersionFile[O]) {
	if encoded != "" {
		if err := json.Unmarshal([]byte(encoded), &f); err != nil {
			panic(err)
		}
	}
	return f
}

func encodeFile[O any](f isolation.VersionFile[O]) string {
	encoded, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}
