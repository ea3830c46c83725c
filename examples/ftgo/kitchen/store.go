package kitchen

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/host"
)

// store is all SQL of the kitchen service. Methods with a transaction run in it.
type store struct{ insert, updateState, holdTicket, releaseTicket, reviseTicket, selectByID, lockByID host.Statement }

func openStore(ctx context.Context, h host.Host) (*store, error) {
	if err := h.Migrate(ctx, "kitchen", schema); err != nil {
		return nil, err
	}
	s := &store{}
	return s, h.Prepare(ctx, "kitchen",
		host.Query{Into: &s.insert, SQL: insertTicket},
		host.Query{Into: &s.updateState, SQL: updateState},
		host.Query{Into: &s.holdTicket, SQL: holdTicket},
		host.Query{Into: &s.releaseTicket, SQL: releaseTicket},
		host.Query{Into: &s.reviseTicket, SQL: reviseTicket},
		host.Query{Into: &s.selectByID, SQL: selectTicket},
		host.Query{Into: &s.lockByID, SQL: selectTicket, Lock: true})
}

// ticket is a stored ticket; times are microseconds since 1970.
type ticket struct {
	id, restaurantID     string
	state                State
	lineItems            []byte // JSON
	createdAt, updatedAt int64
}

func (s *store) add(ctx context.Context, tx *sql.Tx, t kitchenapi.NewTicket, at int64) error {
	items, err := json.Marshal(t.LineItems)
	if err == nil {
		_, err = host.Exec(ctx, tx, s.insert, t.TicketID, t.RestaurantID, string(CreatePending), string(items), at, at)
	}
	if err != nil {
		return fmt.Errorf("insert ticket %s: %w", t.TicketID, err)
	}
	return nil
}

// move changes a ticket's state from one to another; it is an error when the ticket is not
// in the first.
func (s *store) move(ctx context.Context, tx *sql.Tx, id string, from, to State, at int64) error {
	return change(ctx, tx, s.updateState, id, from, string(to), at)
}

// hold puts a ticket into a pending state, which remembers the state that it had and the items
// of a revision; nil for a cancel.
func (s *store) hold(ctx context.Context, tx *sql.Tx, t ticket, to State, items []byte, at int64) error {
	var revised any
	if items != nil {
		revised = string(items)
	}
	return change(ctx, tx, s.holdTicket, t.id, t.state, string(to), revised, at)
}

// release puts a ticket from a pending state back into the state that it had.
func (s *store) release(ctx context.Context, tx *sql.Tx, id string, from State, at int64) error {
	return change(ctx, tx, s.releaseTicket, id, from, at)
}

// revise gives a ticket in REVISION_PENDING its new items and the state that it had.
func (s *store) revise(ctx context.Context, tx *sql.Tx, id string, at int64) error {
	return change(ctx, tx, s.reviseTicket, id, RevisionPending, at)
}

// change executes a statement whose last arguments are the ticket's id and the state that it has
// to be in.
func change(ctx context.Context, tx *sql.Tx, s host.Statement, id string, from State, args ...any) error {
	result, err := host.Exec(ctx, tx, s, append(args, id, string(from))...)
	if err != nil {
		return fmt.Errorf("change ticket %s: %w", id, err)
	}
	if changed, err := result.RowsAffected(); err != nil || changed != 1 {
		return errors.Join(fmt.Errorf("change ticket %s: it is not in %s", id, from), err)
	}
	return nil
}

// find reads a ticket, and with a transaction keeps others from changing it; false when there is
// no such ticket.
func (s *store) find(ctx context.Context, tx *sql.Tx, id string) (ticket, bool, error) {
	t := ticket{id: id}
	query := s.selectByID
	if tx != nil {
		query = s.lockByID
	}
	err := host.QueryRow(ctx, tx, query, id).Scan(&t.restaurantID, &t.state, &t.lineItems, &t.createdAt, &t.updatedAt)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return t, false, nil
	case err != nil:
		return t, false, fmt.Errorf("read ticket %s: %w", id, err)
	default:
		return t, true, nil
	}
}
