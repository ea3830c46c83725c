package createorder

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/bench/cluster"
)

// A floor is the same statements without any library: nothing of the saga is durable between its
// steps, and there are no messages.

// doing executes a step for an order, and says whether the card was declined.
type doing func(ctx context.Context, o order) (declined bool, err error)

// floorKind makes of a step what executes it.
type floorKind func(s *onPostgreSQL, st step) doing

func startFloor(ctx context.Context, c *cluster.Cluster, kind floorKind) (*system, error) {
	s, err := createDatabases(ctx, c)
	if err != nil {
		return nil, err
	}
	all := func(steps ...step) (list []doing) {
		for _, st := range steps {
			list = append(list, kind(&s, st))
		}
		return list
	}
	before := all(createOrderStep, verifyConsumerStep, createTicketStep, authorizeStep)
	approve, reject := all(confirmTicketStep, approveOrderStep), all(rejectTicketStep, rejectOrderStep)
	s.run = func(ctx context.Context, o order) error {
		declined, err := inTurn(ctx, o, before)
		if err != nil {
			return err
		}
		rest := approve
		if declined {
			rest = reject
		}
		_, err = inTurn(ctx, o, rest)
		return err
	}
	return s.system, nil
}

func inTurn(ctx context.Context, o order, steps []doing) (declined bool, err error) {
	for _, do := range steps {
		if declined, err = do(ctx, o); err != nil {
			return false, err
		}
	}
	return declined, nil
}

// bare commits each statement by itself.
func bare(s *onPostgreSQL, st step) doing {
	pool := s.pools[st.service]
	return func(ctx context.Context, o order) (bool, error) { return execute(ctx, pool, st, o) }
}

// inTransaction has a round trip for the beginning and one for the commit.
func inTransaction(s *onPostgreSQL, st step) doing {
	pool := s.pools[st.service]
	return func(ctx context.Context, o order) (declined bool, err error) {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			declined, err = execute(ctx, tx, st, o)
			return err
		})
		return declined, err
	}
}

func execute(ctx context.Context, on interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
}, st step, o order,
) (declined bool, err error) {
	if st.read == nil {
		_, err := on.Exec(ctx, st.query, st.args(o)...)
		return false, err
	}
	refusal, err := st.read(o, on.QueryRow(ctx, st.query, st.args(o)...))
	return refusal != nil, err
}

const (
	// mostTogether is how many orders share a transaction at most.
	mostTogether = 100
	// sideBySide is how many transactions of one step are under way at one time.
	sideBySide = 2
)

// together has orders that wait for the same step share a transaction, whose statements share a
// round trip.
func together(s *onPostgreSQL, st step) doing {
	waiting := make(chan *waiter, 4096)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{}, sideBySide)
	for range sideBySide {
		go func() {
			shareTransactions(ctx, s.pools[st.service], st, waiting)
			ended <- struct{}{}
		}()
	}
	s.onClose(func() error {
		stop()
		for range sideBySide {
			<-ended
		}
		return nil
	})
	return func(ctx context.Context, o order) (bool, error) {
		w := &waiter{order: o, done: make(chan error, 1)}
		select {
		case waiting <- w:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		err := <-w.done
		return w.declined, err
	}
}

// waiter is an order that waits for a step.
type waiter struct {
	order    order
	declined bool
	done     chan error
}

func shareTransactions(ctx context.Context, pool *pgxpool.Pool, st step, waiting <-chan *waiter) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-waiting:
			all := []*waiter{first}
			for more := true; more && len(all) < mostTogether; {
				select {
				case w := <-waiting:
					all = append(all, w)
				default:
					more = false
				}
			}
			err := executeAll(ctx, pool, st, all)
			for _, w := range all {
				w.done <- err
			}
		}
	}
}

// executeAll executes a step for several orders; a batch of pgx's is one transaction.
func executeAll(ctx context.Context, pool *pgxpool.Pool, st step, all []*waiter) error {
	var batch pgx.Batch
	for _, w := range all {
		queued := batch.Queue(st.query, st.args(w.order)...)
		if st.read != nil {
			queued.QueryRow(func(row pgx.Row) error {
				refusal, err := st.read(w.order, row)
				w.declined = refusal != nil
				return err
			})
		}
	}
	if err := pool.SendBatch(ctx, &batch).Close(); err != nil {
		return errors.Join(fmt.Errorf("%d orders together", len(all)), err)
	}
	return nil
}
