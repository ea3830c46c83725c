package createorder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/store/sqlite"
)

// The business statements count how often they were executed, so that a duplicate shows.
const (
	createOrderSQLite = `INSERT INTO orders (id, consumer_id, total, state, details) VALUES (?1, ?2, ?3, 'APPROVAL_PENDING', '` + details + `')
ON CONFLICT (id) DO UPDATE SET n1 = n1 + 1`
	rejectOrderSQLite   = `UPDATE orders SET state = 'REJECTED', nc = nc + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	approveOrderSQLite  = `UPDATE orders SET state = 'APPROVED', n6 = n6 + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	createTicketSQLite  = `INSERT INTO tickets (id, state, details) VALUES (?1, 'CREATE_PENDING', '` + details + `') ON CONFLICT (id) DO UPDATE SET n3 = n3 + 1 + 0 * (?2 + ?3)`
	rejectTicketSQLite  = `UPDATE tickets SET state = 'CREATE_REJECTED', nc = nc + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	confirmTicketSQLite = `UPDATE tickets SET state = 'AWAITING_ACCEPTANCE', n5 = n5 + 1 + 0 * (?2 + ?3) WHERE id = ?1`
	authorizeSQLite     = `INSERT INTO authorizations (order_id, account_id, amount, state) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (order_id) DO UPDATE SET n4 = n4 + 1`
	debitSQLite         = `UPDATE accounts SET balance = balance - ?2 WHERE id = ?1`
	creditLimitSQLite   = `SELECT credit_limit FROM consumers WHERE id = ?1`
)

// sqliteTables are each service's own.
var sqliteTables = map[string]string{
	"order": `CREATE TABLE orders (id INTEGER PRIMARY KEY, consumer_id INTEGER NOT NULL, total INTEGER NOT NULL, state TEXT NOT NULL,
details TEXT NOT NULL, n1 INTEGER NOT NULL DEFAULT 1, n6 INTEGER NOT NULL DEFAULT 0, nc INTEGER NOT NULL DEFAULT 0)`,
	"consumer": `CREATE TABLE consumers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, credit_limit INTEGER NOT NULL)`,
	"kitchen": `CREATE TABLE tickets (id INTEGER PRIMARY KEY, state TEXT NOT NULL, details TEXT NOT NULL,
n3 INTEGER NOT NULL DEFAULT 1, n5 INTEGER NOT NULL DEFAULT 0, nc INTEGER NOT NULL DEFAULT 0)`,
	"accounting": `CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
CREATE TABLE authorizations (order_id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL, amount INTEGER NOT NULL, state TEXT NOT NULL, n4 INTEGER NOT NULL DEFAULT 1)`,
}

var sqliteEmpty = map[string]string{
	"order":   `DELETE FROM orders`,
	"kitchen": `DELETE FROM tickets`,
	"consumer": fmt.Sprintf(`DELETE FROM consumers;
WITH RECURSIVE g(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM g WHERE i < %d) INSERT INTO consumers SELECT i, 'consumer '||i, 1000000 FROM g`, consumers-1),
	"accounting": fmt.Sprintf(`DELETE FROM accounts; DELETE FROM authorizations;
WITH RECURSIVE g(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM g WHERE i < %d) INSERT INTO accounts SELECT i, %d FROM g`, consumers-1, initialBalance),
}

// startSQLite starts the services on databases and a broker in a folder.
func startSQLite(ctx context.Context, dir string, f form) (_ *system, err error) {
	s := &system{databases: map[string]*sql.DB{}, form: f}
	s.empty = func(ctx context.Context) error { return s.executeEach(ctx, sqliteEmpty) }
	s.usage = func(context.Context) usage { return usage{CPU: process.Sample(0)} }
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	broker, err := s.startBroker(ctx, dir)
	if err != nil {
		return s, err
	}
	for _, name := range names {
		store, err := sqlite.Open(ctx, filepath.Join(dir, name+".db"), sqlite.Config{})
		if err != nil {
			return s, err
		}
		s.onClose(store.Close)
		s.databases[name] = store.DB()
		if _, err := store.DB().ExecContext(ctx, sqliteTables[name]); err != nil {
			return s, err
		}
		if err := startService(ctx, s, name, store, broker, sqliteHandlers); err != nil {
			return s, fmt.Errorf("service %s: %w", name, err)
		}
	}
	return s, nil
}

// executeEach executes statements, by database.
func (s *system) executeEach(ctx context.Context, statements map[string]string) error {
	for _, name := range names {
		if _, err := s.databases[name].ExecContext(ctx, statements[name]); err != nil {
			return fmt.Errorf("database %s: %w", name, err)
		}
	}
	return nil
}

var sqliteHandlers = handlers[*sql.Tx]{
	create: executeSQLite(createOrderSQLite), reject: executeSQLite(rejectOrderSQLite), approve: executeSQLite(approveOrderSQLite),
	register: func(c contract, name string, s *service.Service) {
		switch name {
		case "order":
			service.HandleCommand(s, c.approveOrder, answerSQLite(approveOrderSQLite))
		case "consumer":
			service.HandleCommand(s, c.verifyConsumer, verifySQLite)
		case "kitchen":
			service.HandleCommand(s, c.createTicket, answerSQLite(createTicketSQLite))
			service.HandleCommand(s, c.rejectTicket, answerSQLite(rejectTicketSQLite))
			service.HandleCommand(s, c.confirmTicket, answerSQLite(confirmTicketSQLite))
		case "accounting":
			service.HandleCommand(s, c.authorize, chargeSQLite)
		}
	},
}

func executeSQLite(query string) local[*sql.Tx] {
	return func(ctx context.Context, tx *sql.Tx, o *order) error {
		_, err := tx.ExecContext(ctx, query, o.ID, o.Consumer, o.Amount)
		return err
	}
}

func answerSQLite(query string) func(context.Context, *sql.Tx, order) (done, error) {
	execute := executeSQLite(query)
	return func(ctx context.Context, tx *sql.Tx, o order) (done, error) { return done{}, execute(ctx, tx, &o) }
}

func verifySQLite(ctx context.Context, tx *sql.Tx, o order) (done, error) {
	var limit int64
	if err := tx.QueryRowContext(ctx, creditLimitSQLite, o.Consumer).Scan(&limit); err != nil {
		return done{}, err
	}
	if limit < o.Amount {
		return done{}, errOverLimit
	}
	return done{}, nil
}

func chargeSQLite(ctx context.Context, tx *sql.Tx, o order) (done, error) {
	if _, err := tx.ExecContext(ctx, authorizeSQLite, o.ID, o.Consumer, o.Amount, o.cardState()); err != nil {
		return done{}, err
	}
	if o.Decline {
		return done{}, errDeclined
	}
	_, err := tx.ExecContext(ctx, debitSQLite, o.Consumer, o.Amount)
	return done{}, err
}
