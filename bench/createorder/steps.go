package createorder

import (
	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
)

// step is a business statement on PostgreSQL. It counts how often it was executed, so that a
// duplicate shows.
type step struct {
	service, query string
	args           func(o order) []any
	// read decides by the statement's only row; nil when it has none.
	read func(o order, row pgx.Row) (*skald.Refusal, error)
}

func onlyID(o order) []any { return []any{o.ID} }

var (
	createOrderStep = step{
		service: "order",
		query: `INSERT INTO orders(id,consumer_id,total,state,details) VALUES($1,$2,$3,'APPROVAL_PENDING',$4)
ON CONFLICT (id) DO UPDATE SET n1=orders.n1+1`,
		args: func(o order) []any { return []any{o.ID, o.Consumer, o.Amount, details} },
	}
	verifyConsumerStep = step{
		service: "consumer",
		query:   `SELECT credit_limit FROM consumers WHERE id=$1`,
		args:    func(o order) []any { return []any{o.Consumer} },
		read:    readLimit,
	}
	createTicketStep = step{
		service: "kitchen",
		query: `INSERT INTO tickets(id,state,details) VALUES($1,'CREATE_PENDING',$2)
ON CONFLICT (id) DO UPDATE SET n3=tickets.n3+1`,
		args: func(o order) []any { return []any{o.ID, details} },
	}
	authorizeStep = step{
		service: "accounting",
		query: `WITH a AS (INSERT INTO authorizations(order_id,account_id,amount,state) VALUES($1,$2,$3,$4)
  ON CONFLICT (order_id) DO UPDATE SET n4=authorizations.n4+1
  RETURNING state,account_id,amount,(xmax=0) AS fresh),
u AS (UPDATE accounts SET balance=balance-a.amount FROM a
  WHERE accounts.id=a.account_id AND a.fresh AND a.state='APPROVED')
SELECT state FROM a`,
		args: func(o order) []any { return []any{o.ID, o.Consumer, o.Amount, o.cardState()} },
		read: readCard,
	}
	confirmTicketStep = step{
		service: "kitchen", args: onlyID,
		query: `UPDATE tickets SET state='AWAITING_ACCEPTANCE',n5=n5+1 WHERE id=$1`,
	}
	approveOrderStep = step{
		service: "order", args: onlyID,
		query: `UPDATE orders SET state='APPROVED',n6=n6+1 WHERE id=$1`,
	}
	rejectTicketStep = step{
		service: "kitchen", args: onlyID,
		query: `UPDATE tickets SET state='CREATE_REJECTED',nc=nc+1 WHERE id=$1`,
	}
	rejectOrderStep = step{
		service: "order", args: onlyID,
		query: `UPDATE orders SET state='REJECTED',nc=nc+1 WHERE id=$1`,
	}
)

func readLimit(o order, row pgx.Row) (*skald.Refusal, error) {
	var limit int64
	if err := row.Scan(&limit); err != nil {
		return nil, err
	}
	if limit < o.Amount {
		return errOverLimit, nil
	}
	return nil, nil
}

func readCard(_ order, row pgx.Row) (*skald.Refusal, error) {
	var state string
	if err := row.Scan(&state); err != nil {
		return nil, err
	}
	if state == "DECLINED" {
		return errDeclined, nil
	}
	return nil, nil
}
