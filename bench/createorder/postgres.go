package createorder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/postgres"
)

// poolSize is each service's connections, the floor's too.
const poolSize = 16

// postgresTables are each service's own.
var postgresTables = map[string]string{
	"order": `CREATE TABLE orders(id bigint PRIMARY KEY, consumer_id bigint NOT NULL, total bigint NOT NULL, state text NOT NULL,
details text NOT NULL, n1 int NOT NULL DEFAULT 1, n6 int NOT NULL DEFAULT 0, nc int NOT NULL DEFAULT 0)`,
	"consumer": `CREATE TABLE consumers(id bigint PRIMARY KEY, name text NOT NULL, credit_limit bigint NOT NULL)`,
	"kitchen": `CREATE TABLE tickets(id bigint PRIMARY KEY, state text NOT NULL, details text NOT NULL,
n3 int NOT NULL DEFAULT 1, n5 int NOT NULL DEFAULT 0, nc int NOT NULL DEFAULT 0)`,
	"accounting": `CREATE TABLE accounts(id bigint PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE authorizations(order_id bigint PRIMARY KEY, account_id bigint NOT NULL, amount bigint NOT NULL, state text NOT NULL,
n4 int NOT NULL DEFAULT 1);
CREATE TABLE heard(order_id bigint PRIMARY KEY, verified boolean NOT NULL, ticket boolean NOT NULL)`,
}

// postgresEmpty is executed one statement after the other.
var postgresEmpty = []struct{ service, query string }{
	{"order", `TRUNCATE orders`},
	{"kitchen", `TRUNCATE tickets`},
	{"consumer", `TRUNCATE consumers`},
	{"accounting", `TRUNCATE accounts, authorizations, heard`},
	{"consumer", fmt.Sprintf(`INSERT INTO consumers SELECT g, 'consumer '||g, 1000000 FROM generate_series(0, %d) g`, consumers-1)},
	{"accounting", fmt.Sprintf(`INSERT INTO accounts SELECT g, %d FROM generate_series(0, %d) g`, initialBalance, consumers-1)},
	{"consumer", `VACUUM ANALYZE consumers`},
	{"accounting", `VACUUM ANALYZE accounts`},
	{"order", `CHECKPOINT`},
}

// onPostgreSQL is a system's four databases on a cluster, with the services' tables.
type onPostgreSQL struct {
	*system
	pools map[string]*pgxpool.Pool
}

func createDatabases(ctx context.Context, c *cluster.Cluster) (_ onPostgreSQL, err error) {
	s := onPostgreSQL{&system{databases: map[string]*sql.DB{}, counts: c.Counts}, map[string]*pgxpool.Pool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, name := range names {
		pool, err := c.Create(ctx, name, poolSize)
		if err != nil {
			return s, fmt.Errorf("database %s: %w", name, err)
		}
		s.onClose(func() error {
			pool.Close()
			return c.Drop(context.WithoutCancel(ctx), name)
		})
		if _, err := pool.Exec(ctx, postgresTables[name]); err != nil {
			return s, fmt.Errorf("database %s: %w", name, err)
		}
		db := stdlib.OpenDBFromPool(pool)
		s.onClose(db.Close)
		s.pools[name], s.databases[name] = pool, db
	}
	s.empty = func(ctx context.Context) error {
		for _, statement := range postgresEmpty {
			if _, err := s.pools[statement.service].Exec(ctx, statement.query); err != nil {
				return fmt.Errorf("database %s: %s: %w", statement.service, statement.query, err)
			}
		}
		return nil
	}
	s.usage = func(ctx context.Context) usage {
		u, _ := c.Usage(ctx) // counts nothing where it fails, and then the window does as well
		return usage{process.Sample(c.PID), u.Log, u.Commits}
	}
	return s, nil
}

// startPostgreSQL starts the services on a cluster.
func startPostgreSQL(ctx context.Context, c *cluster.Cluster, h handlers[*postgres.Tx], f form) (_ *system, err error) {
	s, err := createDatabases(ctx, c)
	if err != nil {
		return nil, err
	}
	s.form = f
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	dir, err := os.MkdirTemp("", "skald-bench-")
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { return os.RemoveAll(dir) })
	broker, err := s.startBroker(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		store, err := postgres.Open(ctx, s.pools[name], postgres.Config{Logger: quiet})
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		s.onClose(store.DB().Close)
		if err := startService(ctx, s.system, name, store, broker, h); err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
	}
	return s.system, nil
}

// plain is handlers of one message, which execute their statement at once.
var plain = handlers[*postgres.Tx]{
	create: executeStep(createOrderStep), reject: executeStep(rejectOrderStep), approve: executeStep(approveOrderStep), react: reactPlain,
	register: func(c contract, name string, s *service.Service) {
		switch name {
		case "order":
			service.HandleCommand(s, c.approveOrder, answerStep(approveOrderStep))
		case "consumer":
			service.HandleCommand(s, c.verifyConsumer, answerStep(verifyConsumerStep))
		case "kitchen":
			service.HandleCommand(s, c.createTicket, answerStep(createTicketStep))
			service.HandleCommand(s, c.rejectTicket, answerStep(rejectTicketStep))
			service.HandleCommand(s, c.confirmTicket, answerStep(confirmTicketStep))
		case "accounting":
			service.HandleCommand(s, c.authorize, answerStep(authorizeStep))
		}
	},
}

func executeStep(s step) local[*postgres.Tx] {
	return func(ctx context.Context, tx *postgres.Tx, o *order) error {
		_, err := tx.Exec(ctx, s.query, s.args(*o)...)
		return err
	}
}

func answerStep(s step) func(context.Context, *postgres.Tx, order) (done, error) {
	return func(ctx context.Context, tx *postgres.Tx, o order) (done, error) {
		if s.read == nil {
			_, err := tx.Exec(ctx, s.query, s.args(o)...)
			return done{}, err
		}
		refusal, err := s.read(o, tx.QueryRow(ctx, s.query, s.args(o)...))
		if refusal != nil {
			return done{}, refusal
		}
		return done{}, err
	}
}

// batched is handlers of all that waits, whose statements share a round trip.
var batched = handlers[*postgres.Tx]{
	create: queueStep(createOrderStep), reject: queueStep(rejectOrderStep), approve: queueStep(approveOrderStep), react: reactBatched,
	register: func(c contract, name string, s *service.Service) {
		switch name {
		case "order":
			service.HandleCommands(s, c.approveOrder, answerSteps(approveOrderStep))
		case "consumer":
			service.HandleCommands(s, c.verifyConsumer, answerSteps(verifyConsumerStep))
		case "kitchen":
			service.HandleCommands(s, c.createTicket, answerSteps(createTicketStep))
			service.HandleCommands(s, c.rejectTicket, answerSteps(rejectTicketStep))
			service.HandleCommands(s, c.confirmTicket, answerSteps(confirmTicketStep))
		case "accounting":
			service.HandleCommands(s, c.authorize, answerSteps(authorizeStep))
		}
	},
}

func queueStep(s step) local[*postgres.Tx] {
	return func(_ context.Context, tx *postgres.Tx, o *order) error {
		tx.Queue(s.query, s.args(*o)...)
		return nil
	}
}

type request = service.Request[order, done]

func answerSteps(s step) func(context.Context, *postgres.Tx, []*request) error {
	return func(_ context.Context, tx *postgres.Tx, requests []*request) error {
		for _, r := range requests {
			queued := tx.Queue(s.query, s.args(r.Content)...)
			if s.read == nil {
				r.Answer(done{})
				continue
			}
			queued.QueryRow(func(row pgx.Row) error {
				refusal, err := s.read(r.Content, row)
				if refusal != nil {
					r.Refuse(refusal)
				} else if err == nil {
					r.Answer(done{})
				}
				return err
			})
		}
		return nil
	}
}
