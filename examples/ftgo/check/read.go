package check

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/skald-go/skald/examples/ftgo/databases"
)

// owners are the services with a database, and what is read of each.
var owners = []struct {
	service string
	read    []func(context.Context, *reader)
}{
	{"order", []func(context.Context, *reader){readOrders, readConsumerReplica, readRestaurantReplica, readSagas, readHistory}},
	{"consumer", []func(context.Context, *reader){readConsumers}},
	{"restaurant", []func(context.Context, *reader){readRestaurants}},
	{"kitchen", []func(context.Context, *reader){readTickets, readRestaurantReplica}},
	{"accounting", []func(context.Context, *reader){readAccounts, readAuthorizations, readLedger}},
}

// read takes the snapshot: each database as of one moment.
func read(ctx context.Context, from databases.Databases) (*snapshot, error) {
	s := newSnapshot()
	for _, owner := range owners {
		readAll := slices.Concat([]func(context.Context, *reader){readEffects, readSent, readHandled, readHeld, readUnpublished, readLocks}, owner.read)
		switch err := readDatabase(ctx, s, owner.service, from, readAll); {
		case errors.Is(err, databases.ErrAbsent):
			s.absent = append(s.absent, owner.service)
		case err != nil:
			return nil, fmt.Errorf("check: read the %s service's database in %s: %w", owner.service, from, err)
		default:
			s.services = append(s.services, owner.service)
		}
	}
	if len(s.services) == 0 {
		return nil, fmt.Errorf("check: there is no database of any service in %s: name the services' data folder with --data, or their server with --store and --dsn", from)
	}
	return s, nil
}

func readDatabase(ctx context.Context, s *snapshot, service string, from databases.Databases, parts []func(context.Context, *reader)) error {
	db, err := from.Read(ctx, service)
	if err != nil {
		return err
	}
	return errors.Join(readParts(ctx, s, service, db, parts), db.Close())
}

// oneMoment is what a database's transaction sees, whatever others commit meanwhile.
var oneMoment = sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}

func readParts(ctx context.Context, s *snapshot, service string, db *sql.DB, parts []func(context.Context, *reader)) error {
	tx, err := db.BeginTx(ctx, &oneMoment)
	if err != nil {
		return err
	}
	r := &reader{tx: tx, service: service, s: s}
	for _, part := range parts {
		part(ctx, r)
	}
	return errors.Join(r.err, tx.Rollback())
}

// reader reads one service's database. Its first error ends the reading.
type reader struct {
	tx      *sql.Tx
	service string
	s       *snapshot
	err     error
}

// rows calls take for each row of the query, until there is an error.
func (r *reader) rows(ctx context.Context, query string, take func(scan scan) error) {
	if r.err != nil {
		return
	}
	if err := r.query(ctx, query, take); err != nil {
		r.err = fmt.Errorf("%s: %w", query, err)
	}
}

// scan reads the current row's columns.
type scan func(columns ...any) error

func (r *reader) query(ctx context.Context, query string, take func(scan scan) error) error {
	rows, err := r.tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		r.s.activity++
		if err := take(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
