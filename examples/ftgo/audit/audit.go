// Package audit keeps what a service did, sent and handled in append-only tables, for
// `ftgo check` to compare: effects are recorded in the transaction of the effect, messages
// by triggers on the store's outbox and inbox.
package audit

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"time"

	"github.com/skald-go/skald/examples/ftgo/host"
)

var (
	//go:embed sqlite.sql
	sqliteSchema string
	//go:embed postgres.sql
	postgresSchema string

	schema = host.Schema{host.SQLite: sqliteSchema, host.PostgreSQL: postgresSchema}
)

const insertEffect = `INSERT INTO effects (operation, step, action, at) VALUES (?, ?, ?, ?)`

// The actions of effects.
const (
	Do      = "do"
	Undo    = "undo"
	Decline = "decline" // a refusal that is itself a committed fact
)

// Log is a service's record of its effects.
type Log struct{ insert host.Statement }

// Open makes the tables and triggers in a service's database.
func Open(ctx context.Context, h host.Host) (*Log, error) {
	if err := h.Migrate(ctx, "audit", schema); err != nil {
		return nil, err
	}
	l := &Log{}
	return l, h.Prepare(ctx, "audit", host.Query{Into: &l.insert, SQL: insertEffect})
}

// Effect records, in the transaction of the effect, that a step was done or undone. The operation
// is what the step may be done once for: the business key of its saga, which is the order's id for
// its creation; the order's id too for what the kitchen does by itself. There is no unique
// constraint: an effect applied twice is recorded twice.
func (l *Log) Effect(ctx context.Context, tx *sql.Tx, operation, step, action string) error {
	if _, err := host.Exec(ctx, tx, l.insert, operation, step, action, time.Now().UnixMicro()); err != nil {
		return fmt.Errorf("record the effect %q (%s) of %s: %w", step, action, operation, err)
	}
	return nil
}
