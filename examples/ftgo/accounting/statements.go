package accounting

import (
	_ "embed"

	"github.com/skald-go/skald/examples/ftgo/host"
)

var (
	//go:embed sqlite.sql
	sqliteSchema string
	//go:embed postgres.sql
	postgresSchema string

	schema = host.Schema{host.SQLite: sqliteSchema, host.PostgreSQL: postgresSchema}
)

const (
	insertAccount = `
INSERT INTO accounts (consumer_id, consumer_version, credit_limit, authorized, opened_at) VALUES (?, ?, ?, 0, ?)
ON CONFLICT (consumer_id) DO NOTHING`

	selectAccount = `SELECT consumer_version, credit_limit, authorized FROM accounts WHERE consumer_id = ?`

	// A delta: what is authorized is never set to a value that was read before.
	addAuthorized = `
UPDATE accounts SET authorized = authorized + ?1 WHERE consumer_id = ?2 AND authorized + ?1 BETWEEN 0 AND credit_limit`

	insertAuthorization = `
INSERT INTO authorizations (id, order_id, consumer_id, amount, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)`

	selectByState = `SELECT id, consumer_id, amount FROM authorizations WHERE order_id = ? AND state = ?`

	updateAuthorization = `UPDATE authorizations SET amount = ?, state = ?, updated_at = ? WHERE id = ?`

	// Two transactions that see something of one order at the same time do so one after the other, and the
	// second knows what the first has seen.
	upsertEvidence = `
INSERT INTO evidence (order_id, seen) VALUES (?, ?)
ON CONFLICT (order_id) DO UPDATE SET seen = evidence.seen | excluded.seen
RETURNING seen`

	insertVersions = `INSERT INTO versions (order_id, file) VALUES (?, ?) ON CONFLICT (order_id) DO NOTHING`

	selectVersions = `SELECT file FROM versions WHERE order_id = ?`

	updateVersions = `UPDATE versions SET file = ? WHERE order_id = ?`

	insertPosting = `
INSERT INTO ledger (posting, consumer_id, order_id, account, side, amount, balance, at)
VALUES (?1, ?2, ?3, ?4, 'debit', ?5, ?6, ?7), (?1, ?2, ?3, ?8, 'credit', ?5, ?9, ?7)`
)
