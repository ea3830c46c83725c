package accounting

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/host"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/isolation"
)

// store is all SQL of the accounting service. Methods with a transaction run in it.
type store struct {
	insertAccount, selectAccount, lockAccount, addAuthorized               host.Statement
	insertAuthorization, selectByState, updateAuthorization, insertPosting host.Statement
	upsertEvidence, insertVersions, selectVersions, updateVersions         host.Statement

	// credit is what is authorized on an account, within its limit.
	credit *isolation.Delta
}

func openStore(ctx context.Context, h host.Host) (*store, error) {
	if err := h.Migrate(ctx, "accounting", schema); err != nil {
		return nil, err
	}
	s := &store{}
	err := h.Prepare(ctx, "accounting",
		host.Query{Into: &s.insertAccount, SQL: insertAccount},
		host.Query{Into: &s.selectAccount, SQL: selectAccount},
		host.Query{Into: &s.lockAccount, SQL: selectAccount, Lock: true},
		host.Query{Into: &s.addAuthorized, SQL: addAuthorized},
		host.Query{Into: &s.insertAuthorization, SQL: insertAuthorization},
		host.Query{Into: &s.selectByState, SQL: selectByState},
		host.Query{Into: &s.updateAuthorization, SQL: updateAuthorization},
		host.Query{Into: &s.insertPosting, SQL: insertPosting},
		host.Query{Into: &s.upsertEvidence, SQL: upsertEvidence},
		host.Query{Into: &s.insertVersions, SQL: insertVersions},
		host.Query{Into: &s.selectVersions, SQL: selectVersions, Lock: true},
		host.Query{Into: &s.updateVersions, SQL: updateVersions})
	if err != nil {
		return nil, err
	}
	s.credit, err = isolation.NewDelta(s.addAuthorized.Text(), skald.Refuse(accountingapi.RefusedDeclined, "not enough credit"))
	return s, err
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

// authorize adds to what is authorized on an account; false when that would be over its limit.
func (s *store) authorize(ctx context.Context, tx *sql.Tx, consumer string, more money.Amount) (bool, error) {
	err := s.credit.Apply(ctx, s.addAuthorized.In(tx), int64(more), consumer)
	if _, refused := skald.AsRefusal(err); refused {
		return false, nil
	}
	if errors.Is(err, isolation.ErrNoRow) {
		err = fmt.Errorf("the account of consumer %s is not open yet", consumer)
	}
	return err == nil, err
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

// addVersions keeps the first version file of an order; false when there is one.
func (s *store) addVersions(ctx context.Context, tx *sql.Tx, order string, f versions) (bool, error) {
	encoded, err := json.Marshal(f)
	if err != nil {
		return false, fmt.Errorf("encode the version file of order %s: %w", order, err)
	}
	result, err := host.Exec(ctx, tx, s.insertVersions, order, string(encoded))
	if err != nil {
		return false, fmt.Errorf("insert the version file of order %s: %w", order, err)
	}
	added, err := result.RowsAffected()
	return added == 1, err
}

// versions reads an order's version file and keeps others from changing it; false when there is none.
func (s *store) versions(ctx context.Context, tx *sql.Tx, order string) (f versions, ok bool, err error) {
	var encoded []byte
	switch err := host.QueryRow(ctx, tx, s.selectVersions, order).Scan(&encoded); {
	case errors.Is(err, sql.ErrNoRows):
		return f, false, nil
	case err != nil:
		return f, false, fmt.Errorf("read the version file of order %s: %w", order, err)
	}
	if err := json.Unmarshal(encoded, &f); err != nil {
		return f, false, fmt.Errorf("read the version file of order %s: %w", order, err)
	}
	return f, true, nil
}

func (s *store) setVersions(ctx context.Context, tx *sql.Tx, order string, f versions) error {
	encoded, err := json.Marshal(f)
	if err == nil {
		_, err = host.Exec(ctx, tx, s.updateVersions, string(encoded), order)
	}
	if err != nil {
		return fmt.Errorf("write the version file of order %s: %w", order, err)
	}
	return nil
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
