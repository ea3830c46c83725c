// Package createorder is the createOrder benchmark on the embedded default: one saga of six
// local transactions over four SQLite databases, through the library as a user would write it.
package createorder

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
)

const (
	consumers      = 10_000
	initialBalance = 1_000_000_000
	details        = `{"restaurant":"Ajanta","items":[{"sku":"chicken-vindaloo","qty":2},{"sku":"naan","qty":4}],"address":"1 High St, Oakland CA"}`
)

// order is the saga's input and state, and what each command carries of it.
type order struct {
	ID       int64 `json:"id"`
	Consumer int64 `json:"consumer"`
	Amount   int64 `json:"amount"`
	Decline  bool  `json:"decline,omitempty"`
}

type done struct{}

func command(name, channel string, refusals ...string) skald.Command[order, done] {
	return skald.Command[order, done]{
		Name: "bench." + name, Channel: "bench." + channel, Refusals: refusals,
		Key: func(o order) string { return strconv.FormatInt(o.ID, 10) },
	}
}

var (
	verifyConsumer = command("verify-consumer", "consumer", "over_limit")
	createTicket   = command("create-ticket", "kitchen")
	rejectTicket   = command("reject-ticket", "kitchen")
	confirmTicket  = command("confirm-ticket", "kitchen")
	authorize      = command("authorize", "accounting", "declined")
	approveOrder   = command("approve-order", "order")
)

func itself(o order) order { return o }

var definition = saga.Definition[order]{
	Name: "bench.create-order",
	Compensatable: []saga.Compensatable[order]{
		{Name: "create order", Do: saga.Local(local(createOrderSQL)), Undo: saga.Local(local(rejectOrderSQL))},
		{Name: "verify consumer", Do: saga.Call(verifyConsumer, itself)},
		{Name: "create ticket", Do: saga.Call(createTicket, itself), Undo: saga.Call(rejectTicket, itself)},
	},
	Pivot:     saga.Step[order]{Name: "authorize card", Do: saga.Call(authorize, itself)},
	Retriable: []saga.Step[order]{{Name: "confirm ticket", Do: saga.Call(confirmTicket, itself)}, {Name: "approve order", Do: saga.Call(approveOrder, itself)}},
}

// The business statements count how often they were executed, so that a duplicate shows.
const (
	createOrderSQL = `INSERT INTO orders (id, consumer_id, total, state, details) VALUES (?1, ?2, ?3, 'APPROVAL_PENDING', '` + details + `')
ON CONFLICT (id) DO UPDATE SET n1 = n1 + 1`
	rejectOrderSQL   = `UPDATE orders SET state = 'REJECTED', nc = nc + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	approveOrderSQL  = `UPDATE orders SET state = 'APPROVED', n6 = n6 + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	createTicketSQL  = `INSERT INTO tickets (id, state, details) VALUES (?1, 'CREATE_PENDING', '` + details + `') ON CONFLICT (id) DO UPDATE SET n3 = n3 + 1 + 0 * (?2 + ?3)`
	rejectTicketSQL  = `UPDATE tickets SET state = 'CREATE_REJECTED', nc = nc + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	confirmTicketSQL = `UPDATE tickets SET state = 'AWAITING_ACCEPTANCE', n5 = n5 + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	authorizeSQL     = `INSERT INTO authorizations (order_id, account_id, amount, state) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (order_id) DO UPDATE SET n4 = n4 + 1`
	debitSQL         = `UPDATE accounts SET balance = balance - ?2 WHERE id = ?1`
	creditLimitSQL   = `SELECT credit_limit FROM consumers WHERE id = ?1`
)

// schemas is each service's own tables, filled.
var schemas = map[string]string{
	"order": `CREATE TABLE orders (id INTEGER PRIMARY KEY, consumer_id INTEGER NOT NULL, total INTEGER NOT NULL, state TEXT NOT NULL,
details TEXT NOT NULL, n1 INTEGER NOT NULL DEFAULT 1, n6 INTEGER NOT NULL DEFAULT 0, nc INTEGER NOT NULL DEFAULT 0)`,
	"consumer": fmt.Sprintf(`CREATE TABLE consumers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, credit_limit INTEGER NOT NULL);
WITH RECURSIVE g(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM g WHERE i < %d) INSERT INTO consumers SELECT i, 'consumer '||i, 1000000 FROM g`, consumers-1),
	"kitchen": `CREATE TABLE tickets (id INTEGER PRIMARY KEY, state TEXT NOT NULL, details TEXT NOT NULL,
n3 INTEGER NOT NULL DEFAULT 1, n5 INTEGER NOT NULL DEFAULT 0, nc INTEGER NOT NULL DEFAULT 0)`,
	"accounting": fmt.Sprintf(`CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
CREATE TABLE authorizations (order_id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, amount INTEGER NOT NULL, state TEXT NOT NULL, n4 INTEGER NOT NULL DEFAULT 1);
WITH RECURSIVE g(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM g WHERE i < %d) INSERT INTO accounts SELECT i, %d FROM g`, consumers-1, initialBalance),
}

func local(query string) func(context.Context, *sql.Tx, *order) error {
	return func(ctx context.Context, tx *sql.Tx, o *order) error {
		_, err := tx.ExecContext(ctx, query, o.ID, o.Consumer, o.Amount)
		return err
	}
}

func run(query string) func(context.Context, *sql.Tx, order) (done, error) {
	execute := local(query)
	return func(ctx context.Context, tx *sql.Tx, o order) (done, error) { return done{}, execute(ctx, tx, &o) }
}

// register adds a service's handlers.
func register(name string, s *service.Service) {
	switch name {
	case "order":
		service.HandleCommand(s, approveOrder, run(approveOrderSQL))
	case "consumer":
		service.HandleCommand(s, verifyConsumer, verify)
	case "kitchen":
		service.HandleCommand(s, createTicket, run(createTicketSQL))
		service.HandleCommand(s, rejectTicket, run(rejectTicketSQL))
		service.HandleCommand(s, confirmTicket, run(confirmTicketSQL))
	case "accounting":
		service.HandleCommand(s, authorize, charge)
	}
}

func verify(ctx context.Context, tx *sql.Tx, o order) (done, error) {
	var limit int64
	if err := tx.QueryRowContext(ctx, creditLimitSQL, o.Consumer).Scan(&limit); err != nil {
		return done{}, err
	}
	if limit < o.Amount {
		return done{}, skald.Refuse("over_limit", "over the credit limit")
	}
	return done{}, nil
}

func charge(ctx context.Context, tx *sql.Tx, o order) (done, error) {
	state := "APPROVED"
	if o.Decline {
		state = "DECLINED"
	}
	if _, err := tx.ExecContext(ctx, authorizeSQL, o.ID, o.Consumer, o.Amount, state); err != nil {
		return done{}, err
	}
	if o.Decline {
		return done{}, skald.Refuse("declined", "card declined").Keep()
	}
	_, err := tx.ExecContext(ctx, debitSQL, o.Consumer, o.Amount)
	return done{}, err
}
