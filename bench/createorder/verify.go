package createorder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald/lock"
)

// verdict is what the databases say after a window.
type verdict struct {
	Orders      int64
	NotTerminal int64 // neither approved nor rejected
	Wrong       int64 // databases that disagree, or money that does not add up
	Duplicates  int64 // steps whose transaction was committed more than once
	Locked      int64 // semantic locks that are left
}

// holds reports whether everything that was started ended as it should.
func (v verdict) holds(started int64) bool { return v == verdict{Orders: started} }

type states struct{ order, ticket, card string }

// again is how often more than once something was counted that happens at most once.
const again = `CASE WHEN %[1]s > 1 THEN %[1]s - 1 ELSE 0 END`

var (
	readOrders  = `SELECT id, state, (n1 - 1) + ` + fmt.Sprintf(again, "n6") + ` + ` + fmt.Sprintf(again, "nc") + ` FROM orders`
	readTickets = `SELECT id, state, (n3 - 1) + ` + fmt.Sprintf(again, "n5") + ` + ` + fmt.Sprintf(again, "nc") + ` FROM tickets`
	readCards   = `SELECT order_id, state, n4 - 1 FROM authorizations`
	compareCash = fmt.Sprintf(`SELECT CAST((SELECT sum(%d - balance) FROM accounts) -
(SELECT coalesce(sum(amount), 0) FROM authorizations WHERE state = 'APPROVED') AS bigint)`, initialBalance)
)

// settled is the verdict once everything has come to rest: the end of a choreography is known before
// the last service has heard of it.
func (s *system) settled(ctx context.Context, started int64) (verdict, error) {
	const enough = 5 * time.Second
	for began := time.Now(); ; pause(ctx, 20*time.Millisecond) {
		v, err := s.verify(ctx)
		if err != nil || v.holds(started) || time.Since(began) > enough {
			return v, err
		}
	}
}

// verify compares the databases with each other.
func (s *system) verify(ctx context.Context) (v verdict, err error) {
	all := map[int64]states{}
	read := func(name, query string, set func(*states, string)) {
		if err == nil {
			err = s.scan(ctx, name, query, all, &v, set)
		}
	}
	read("order", readOrders, func(s *states, v string) { s.order = v })
	read("kitchen", readTickets, func(s *states, v string) { s.ticket = v })
	read("accounting", readCards, func(s *states, v string) { s.card = v })
	if err != nil {
		return v, err
	}
	for _, st := range all {
		v.Orders++
		switch st {
		case states{"APPROVED", "AWAITING_ACCEPTANCE", "APPROVED"}, states{"REJECTED", "CREATE_REJECTED", "DECLINED"}:
		default:
			v.Wrong++
		}
		if st.order != "APPROVED" && st.order != "REJECTED" {
			v.NotTerminal++
		}
	}
	var off int64
	err = s.databases["accounting"].QueryRowContext(ctx, compareCash).Scan(&off)
	if off != 0 {
		v.Wrong++
	}
	for _, l := range s.locks {
		left, listed := l.List(ctx, "", lock.Key{}, 1000)
		v.Locked += int64(len(left))
		err = errors.Join(err, listed)
	}
	return v, err
}

func (s *system) scan(ctx context.Context, name, query string, all map[int64]states, v *verdict, set func(*states, string)) error {
	rows, err := s.databases[name].QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("verify %s: %w", name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, duplicates int64
		var state string
		if err := rows.Scan(&id, &state, &duplicates); err != nil {
			return err
		}
		st := all[id]
		set(&st, state)
		all[id] = st
		v.Duplicates += duplicates
	}
	return rows.Err()
}
