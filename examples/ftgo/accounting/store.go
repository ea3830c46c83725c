package accounting

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/host"
)

// store is all SQL of the accounting service. Methods with a transaction run in it.
type store struct {
	insertAccount, selectAccount, lockAccount, updateAuthorized            host.Statement
	insertAuthorization, selectByState, updateAuthorization, insertPosting host.Statement
	upsertEvidence                                                         host.Statement
}

func openStore(ctx context.Context, h host.Host) (*store, error) {
	if err := h.Migrate(ctx, "accounting", schema); err != nil {
		return nil, err
	}
	s := &store{}
	return s, h.Prepare(ctx, "accounting",
		host.Query{Into: &s.insertAccount, SQL: insertAccount},
		host.Query{Into: &s.selectAccount, SQL: selectAccount},
		host.Query{Into: &s.lockAccount, SQL: selectAccount, Lock: true},
		host.Query{Into: &s.updateAuthorized, SQL: updateAuthorized},
		host.Query{Into: &s.insertAuthorization, SQL: insertAuthorization},
		host.Query{Into: &s.selectByState, SQL: selectByState},
		host.Query{Into: &s.updateAuthorization, SQL: updateAuthorization},
		host.Query{Into: &s.insertPosting, SQL: insertPosting},
		host.Query{Into: &s.upsertEvidence, SQL: upsertEvidence})
}

// open inserts an account; false when the consumer has one.
func (s *store) open(ctx context.Context, tx *sql.Tx, c consumerapi.Consumer, at int64) (bool, error) {
	result, err := host.Exec(ctx, tx, s.insertAccount, c.ID, c.Version, int64(c.CreditLimit), at)
	if err != nil {
		return false, fmt.Errorf("open the account of consumer %s: %w", c.ID, err)
	}
	opened, err := result.RowsAffected()
	return opened == 1, err
}

// find reads an account, and with a transaction keeps others from changing it; false when it is
// not open.
func (s *store) find(ctx context.Context, tx *sql.Tx, consumer string) (account, bool, error) {
	var a account
	query := s.selectAccount
	if tx != nil {
		query = s.lockAccount
	}
	err := host.QueryRow(ctx, tx, query, consumer).Scan(&a.consumerVersion, (*int64)(&a.creditLimit), (*int64)(&a.authorized))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return a, false, nil
	case err != nil:
		return a, false, fmt.Errorf("read the account of consumer %s: %w", consumer, err)
	default:
		return a, true, nil
	}
}

func (s *store) setAuthorized(ctx context.Context, tx *sql.Tx, consumer string, a account) error {
	if _, err := host.Exec(ctx, tx, s.updateAuthorized, int64(a.authorized), consumer); err != nil {
		return fmt.Errorf("set what is authorized on the account of consumer %s: %w", consumer, err)
	}
	return nil
}

func (s *store) addAuthorization(ctx context.Context, tx *sql.Tx, a authorization, at int64) error {
	_, err := host.Exec(ctx, tx, s.insertAuthorization, a.id, a.orderID, a.consumerID, int64(a.amount), string(a.state), at, at)
	if err != nil {
		return fmt.Errorf("insert the authorization for order %s: %w", a.orderID, err)
	}
	return nil
}

// authorization reads an order's authorization in a state; it is an error when there is none.
func (s *store) authorization(ctx context.Context, tx *sql.Tx, order string, in State) (authorization, error) {
	a := authorization{orderID: order, state: in}
	if err := host.QueryRow(ctx, tx, s.selectByState, order, string(in)).Scan(&a.id, &a.consumerID, (*int64)(&a.amount)); err != nil {
		return a, fmt.Errorf("read the %s authorization of order %s: %w", in, order, err)
	}
	return a, nil
}

// setAuthorization writes an authorization's amount and state.
func (s *store) setAuthorization(ctx context.Context, tx *sql.Tx, a authorization, at int64) error {
	if _, err := host.Exec(ctx, tx, s.updateAuthorization, int64(a.amount), string(a.state), at, a.id); err != nil {
		return fmt.Errorf("update the authorization of order %s: %w", a.orderID, err)
	}
	return nil
}

// see notes what has been seen of an order, and returns all that was. Nobody else sees anything of it
// until the transaction ends.
func (s *store) see(ctx context.Context, tx *sql.Tx, order string, now evidence) (all evidence, err error) {
	if err := host.QueryRow(ctx, tx, s.upsertEvidence, order, int(now)).Scan(&all); err != nil {
		return 0, fmt.Errorf("note what was seen of order %s: %w", order, err)
	}
	return all, nil
}

// post writes the two entries of a posting.
func (s *store) post(ctx context.Context, tx *sql.Tx, p posting, at int64) error {
	_, err := host.Exec(ctx, tx, s.insertPosting, p.id, p.consumerID, p.orderID,
		string(p.debit.account), int64(p.amount), int64(p.debit.balance), at,
		string(p.credit.account), int64(p.credit.balance))
	if err != nil {
		return fmt.Errorf("post to the ledger of consumer %s: %w", p.consumerID, err)
	}
	return nil
}
