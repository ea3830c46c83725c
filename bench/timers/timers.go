// Package timers measures how fast deadlines fire that pass all at once, on PostgreSQL.
package timers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// Options of a run.
type Options struct {
	Sagas int // whose deadlines have passed
	// Others are sagas of a version that the process does not know, whose deadlines passed long before.
	Others int
	Report func(phase string, done, total int)
}

// Result is one JSON line. Memory is the most that the process took while the deadlines fired, with an
// in-memory broker in it that nothing is published to; 0 where the system does not say.
type Result struct {
	System  string  `json:"system"`
	Sagas   int     `json:"sagas"`
	Others  int     `json:"of_unknown_versions"`
	Elapsed float64 `json:"elapsed_s"`
	Rate    float64 `json:"deadlines_per_s"`
	Peak    int     `json:"peak_mib"`
	OK      bool    `json:"ok"` // each fired once, and sent one undo; none of the others did
}

type order struct {
	ID string `json:"id"`
}

func (o order) itself() order { return o }

const (
	database    = "timers"
	connections = 8
	name        = "bench.timers"
)

// definition is the smallest saga whose deadline has a consequence: an undo is sent.
func definition() saga.Definition[order] {
	command := func(name string) skald.Command[order, order] {
		return skald.Command[order, order]{Name: name, Channel: "bench.participant", Key: func(o order) string { return o.ID }}
	}
	return saga.Definition[order]{Name: name, Compensatable: []saga.Compensatable[order]{{
		Name: "reserve", Deadline: time.Second,
		Do:   saga.Call(command("bench.reserve"), order.itself),
		Undo: saga.Call(command("bench.release"), order.itself),
	}}}
}

// Run loads the sagas, and runs a service until the last deadline has fired.
func Run(ctx context.Context, options Options) (r Result, err error) {
	r = Result{System: "skald, postgres", Sagas: options.Sagas, Others: options.Others}
	c, err := cluster.Start(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	pool, err := c.Create(ctx, database, connections)
	if err != nil {
		return r, err
	}
	defer pool.Close()
	quiet := slog.New(slog.DiscardHandler)
	store, err := postgres.Open(ctx, pool, postgres.Config{Relay: postgres.Poll, Logger: quiet})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.DB().Close()) }()
	svc, err := service.New("timers", store, skaldtest.NewBroker(skaldtest.BrokerConfig{}), service.Config{Logger: quiet, RelayElsewhere: true})
	if err != nil {
		return r, err
	}
	handle := saga.Register(svc, definition())
	options.Report("load", 0, options.Sagas)
	if err := load(ctx, pool, store, handle, options); err != nil {
		return r, err
	}
	process.ForgetPeak()
	if r.Elapsed, err = fire(ctx, svc, pool, options); err != nil {
		return r, err
	}
	r.Peak, r.Rate = process.Peak(), float64(int(float64(options.Sagas)/r.Elapsed))
	r.OK, err = verify(ctx, pool, options)
	return r, err
}

// load starts one saga, and has the server copy it, with its deadline, which is in its progress as well.
func load(ctx context.Context, pool *pgxpool.Pool, store *postgres.Store, handle *saga.Saga[order], options Options) error {
	if err := store.Transact(ctx, func(ctx context.Context, tx *postgres.Tx) error {
		return handle.Start(ctx, tx, "seed", order{ID: "seed"})
	}); err != nil {
		return err
	}
	const copies = `INSERT INTO skald_sagas (id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision)
SELECT gen_random_uuid(), name, $2::integer, format('%s/%s', $2::integer, n), '', status, step, reason, convert_to(format('{"id":"%s/%s"}', $2::integer, n), 'UTF8'), progress, trace_parent, trace_state,
due_at - $3::interval, started_at, updated_at, 1 FROM skald_sagas, generate_series(1, $1::integer) AS n WHERE key = 'seed'`
	for _, of := range []struct {
		version, n int
		ago        string
	}{{2, options.Others, "1 day"}, {1, options.Sagas, "0"}} {
		if _, err := pool.Exec(ctx, copies, of.n, of.version, of.ago); err != nil {
			return fmt.Errorf("load sagas: %w", err)
		}
	}
	_, err := pool.Exec(ctx, "DELETE FROM skald_sagas WHERE key = 'seed'")
	return err
}

// fire runs the service until no deadline is left that has passed, and returns the seconds.
func fire(ctx context.Context, svc *service.Service, pool *pgxpool.Pool, options Options) (float64, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- svc.Run(running) }()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return 0, errors.Join(err, ctx.Err(), errors.New("the service ended before the last deadline"))
		case <-look.C:
		}
		var left int
		if err := pool.QueryRow(ctx, "SELECT count(*) FROM skald_sagas WHERE name = $1 AND version = 1 AND due_at IS NOT NULL", name).Scan(&left); err != nil {
			return 0, err
		}
		options.Report("fire", options.Sagas-left, options.Sagas)
		if left == 0 {
			elapsed := time.Since(began).Seconds()
			stop()
			return elapsed, <-ended
		}
	}
}

// verify counts what the deadlines came to.
func verify(ctx context.Context, pool *pgxpool.Pool, options Options) (bool, error) {
	var fired, sagas, undos, left int
	err := pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM skald_history WHERE what = $1), (SELECT count(DISTINCT saga) FROM skald_history WHERE what = $1),
(SELECT count(DISTINCT key) FROM skald_outbox WHERE type = 'bench.release'), (SELECT count(*) FROM skald_sagas WHERE version = 2 AND due_at IS NOT NULL)`, saga.HistoryTimedOut).Scan(&fired, &sagas, &undos, &left)
	return fired == options.Sagas && sagas == options.Sagas && undos == options.Sagas && left == options.Others, err
}
