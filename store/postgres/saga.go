package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

const (
	sagaColumns = "id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision"
	// live is the condition of the partial index, word for word, so that it is used.
	live = "status NOT IN ('completed', 'compensated')"

	loadSagas   = "SELECT " + sagaColumns + " FROM skald_load_sagas($1)"
	findLive    = "SELECT " + sagaColumns + " FROM skald_sagas WHERE name = $1 AND key = $2 AND " + live
	findRequest = "SELECT " + sagaColumns + " FROM skald_sagas WHERE name = $1 AND request = $2 AND request <> ''"
	readSaga    = "SELECT " + sagaColumns + " FROM skald_sagas WHERE name = $1 AND key = $2 ORDER BY id DESC LIMIT 1"

	insertSagas = "INSERT INTO skald_sagas (" + sagaColumns + `)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bytea[],
$11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[], $16::bigint[])`
	// What identifies an instance and how it started does not change.
	updateSagas = `SELECT skald_require(skald_update_sagas($1, $2, $3, $4, $5, $6, $7, $8, $9) = cardinality($1), '` + codeChanged + `',
'the database has another revision of one, or none')`

	addHistory = `INSERT INTO skald_history_batches (saga, number, at, entries)
SELECT saga, number, at, entries::json FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[], $4::text[]) AS u (saga, number, at, entries)`
	readHistory = "SELECT saga, number, at, step, what, detail FROM skald_history WHERE saga = $1 ORDER BY number"

	registerDefinition = "INSERT INTO skald_definitions (name, version, fingerprint) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
	readDefinition     = "SELECT fingerprint FROM skald_definitions WHERE name = $1 AND version = $2"

	listSagas     = "SELECT " + sagaColumns + " FROM skald_sagas WHERE $1 IN ('', status) AND id > $2 ORDER BY id LIMIT $3"
	listLiveSagas = "SELECT " + sagaColumns + " FROM skald_sagas WHERE status = $1 AND id > $2 AND " + live + " ORDER BY id LIMIT $3"
)

func scanSaga(r row, into *saga.Record) error {
	return r.Scan((*idColumn)(&into.ID), &into.Name, &into.Version, &into.Key, &into.Request, (*string)(&into.Status), &into.Step, &into.Reason,
		&into.State, &into.Progress, &into.Trace.Parent, &into.Trace.State,
		(*momentColumn)(&into.DueAt), (*momentColumn)(&into.StartedAt), (*momentColumn)(&into.UpdatedAt), &into.Revision)
}

func sagaRow(r pgx.CollectableRow) (record saga.Record, err error) {
	return record, scanSaga(r, &record)
}

// sagas reads sagas in a transaction.
func (s *Store) sagas(ctx context.Context, tx skald.Tx, doing, query string, args ...any) ([]saga.Record, error) {
	x, err := s.session(tx)
	if err != nil {
		return nil, failure(doing, err)
	}
	var found []saga.Record
	err = x.ask(ctx, askSagas(doing, query, args, &found))
	return found, err
}

func askSagas(doing, query string, args []any, found *[]saga.Record) question {
	return question{doing: doing, query: query, args: args, scan: func(r row) error {
		*found = append(*found, saga.Record{})
		return scanSaga(r, &(*found)[len(*found)-1])
	}}
}

// LoadSagas implements [saga.Store]. They are locked in the order of their ids, so that two such
// calls do not wait for each other.
func (s *Store) LoadSagas(ctx context.Context, tx skald.Tx, list []skald.ID) ([]saga.Record, error) {
	if len(list) == 0 {
		return nil, nil
	}
	return s.sagas(ctx, tx, fmt.Sprintf("load %d sagas", len(list)), loadSagas, ids(list))
}

// PreloadSagas implements [saga.Preloader].
func (s *Store) PreloadSagas(ctx context.Context, tx skald.Tx, list []skald.ID, then func([]saga.Record)) error {
	doing := fmt.Sprintf("load %d sagas", len(list))
	x, err := s.session(tx)
	if err != nil || len(list) == 0 {
		return failure(doing, err)
	}
	var found []saga.Record
	q := askSagas(doing, loadSagas, []any{ids(list)}, &found)
	q.done = func() { then(found) }
	if x.sql == nil && x.tx.runtime() {
		x.note(q)
		return nil
	}
	return x.ask(ctx, q)
}

// FindLive implements [saga.Store].
func (s *Store) FindLive(ctx context.Context, tx skald.Tx, name, key string) (*saga.Record, error) {
	found, err := s.sagas(ctx, tx, fmt.Sprintf("find the live saga %q of key %q", name, key), findLive, name, key)
	return first(found), err
}

// FindRequest implements [saga.Store].
func (s *Store) FindRequest(ctx context.Context, tx skald.Tx, name, request string) (*saga.Record, error) {
	found, err := s.sagas(ctx, tx, fmt.Sprintf("find the saga %q of request %q", name, request), findRequest, name, request)
	return first(found), err
}

// ReadSaga implements [saga.Store].
func (s *Store) ReadSaga(ctx context.Context, name, key string) (*saga.Record, error) {
	found, err := list(ctx, s, sagaRow, readSaga, name, key)
	return first(found), failure(fmt.Sprintf("read the saga %q of key %q", name, key), err)
}

func first(found []saga.Record) *saga.Record {
	if len(found) == 0 {
		return nil
	}
	return &found[0]
}

// SaveSagas implements [saga.Store].
func (s *Store) SaveSagas(ctx context.Context, tx skald.Tx, records []saga.Record) error {
	doing := fmt.Sprintf("save %d sagas", len(records))
	x, err := s.session(tx)
	if err != nil {
		return failure(doing, err)
	}
	inserts, updates := byRevision(records)
	// Updates come first: they may end the saga whose key a new one takes.
	if len(updates) > 0 {
		if err := x.exec(ctx, doing, updateSagas, changedArrays(updates)...); err != nil {
			return err
		}
	}
	if len(inserts) == 0 {
		return nil
	}
	return x.exec(ctx, doing, insertSagas, sagaArrays(inserts)...)
}

// byRevision divides new records from those that are stored already.
func byRevision(records []saga.Record) (inserts, updates []*saga.Record) {
	for i := range records {
		if records[i].Revision == 1 {
			inserts = append(inserts, &records[i])
		} else {
			updates = append(updates, &records[i])
		}
	}
	return inserts, updates
}

// changedArrays are what changes in a saga, as parameters.
func changedArrays(records []*saga.Record) []any {
	n := len(records)
	list, statuses, steps, reasons := make([][16]byte, n), make([]string, n), make([]string, n), make([]string, n)
	states, progress := make([][]byte, n), make([][]byte, n)
	due, updated, revisions := make([]pgtype.Timestamptz, n), make([]time.Time, n), make([]int64, n)
	for i, r := range records {
		list[i], statuses[i], steps[i], reasons[i] = r.ID, string(r.Status), r.Step, storable(r.Reason)
		states[i], progress[i] = notNull(r.State), notNull(r.Progress)
		due[i] = pgtype.Timestamptz{Time: r.DueAt, Valid: !r.DueAt.IsZero()}
		updated[i], revisions[i] = moment(r.UpdatedAt), r.Revision
	}
	return []any{list, statuses, steps, reasons, states, progress, due, updated, revisions}
}

// sagaArrays are whole sagas as parameters, in the order of sagaColumns.
func sagaArrays(records []*saga.Record) []any {
	n := len(records)
	names, versions, keys, requests := make([]string, n), make([]int, n), make([]string, n), make([]string, n)
	parents, states, started := make([]string, n), make([]string, n), make([]time.Time, n)
	for i, r := range records {
		names[i], versions[i], keys[i], requests[i] = r.Name, r.Version, r.Key, r.Request
		parents[i], states[i], started[i] = storable(r.Trace.Parent), storable(r.Trace.State), moment(r.StartedAt)
	}
	c := changedArrays(records)
	return []any{c[0], names, versions, keys, requests, c[1], c[2], c[3], c[4], c[5], parents, states, c[6], started, c[7], c[8]}
}

// AddHistory implements [saga.Store].
func (s *Store) AddHistory(ctx context.Context, tx skald.Tx, entries []saga.Entry) error {
	doing := fmt.Sprintf("add %d entries to the history of sagas", len(entries))
	x, err := s.session(tx)
	if err != nil || len(entries) == 0 {
		return failure(doing, err)
	}
	var sagas [][16]byte
	var numbers []int
	var moments []time.Time
	var encoded []string
	for len(entries) > 0 {
		n := together(entries)
		first := &entries[0]
		sagas, numbers, moments = append(sagas, first.Saga), append(numbers, first.Number), append(moments, moment(first.At))
		text, err := encodeHistory(entries[:n])
		if err != nil {
			return failure(doing, err)
		}
		encoded, entries = append(encoded, text), entries[n:]
	}
	return x.exec(ctx, doing, addHistory, sagas, numbers, moments, encoded)
}

// together is how many of the entries are one saga's, of one moment, and without a gap.
func together(entries []saga.Entry) int {
	n := 1
	for n < len(entries) && entries[n].Saga == entries[0].Saga && entries[n].At.Equal(entries[0].At) && entries[n].Number == entries[n-1].Number+1 {
		n++
	}
	return n
}

func encodeHistory(entries []saga.Entry) (string, error) {
	rows := make([][3]string, len(entries))
	for i := range entries {
		e := &entries[i]
		rows[i] = [3]string{storable(e.Step), storable(e.What), storable(e.Detail)}
	}
	encoded, err := json.Marshal(rows)
	return string(encoded), err
}

// ReadHistory implements [saga.Store].
func (s *Store) ReadHistory(ctx context.Context, id skald.ID) ([]saga.Entry, error) {
	entries, err := list(ctx, s, func(r pgx.CollectableRow) (e saga.Entry, err error) {
		err = r.Scan((*idColumn)(&e.Saga), &e.Number, (*momentColumn)(&e.At), &e.Step, &e.What, &e.Detail)
		return e, err
	}, readHistory, [16]byte(id))
	return entries, failure(fmt.Sprintf("read the history of saga %s", id), err)
}

// RegisterDefinition implements [saga.Store].
func (s *Store) RegisterDefinition(ctx context.Context, name string, version int, fingerprint string) (string, error) {
	var stored string
	_, err := s.pool.Exec(ctx, registerDefinition, name, version, fingerprint)
	if err == nil {
		err = s.pool.QueryRow(ctx, readDefinition, name, version).Scan(&stored)
	}
	return stored, failure(fmt.Sprintf("register version %d of the definition %q", version, name), err)
}

// ListSagas implements [saga.Store].
func (s *Store) ListSagas(ctx context.Context, status saga.Status, after skald.ID, limit int) ([]saga.Record, error) {
	query := listSagas
	if status != "" && !status.Ended() {
		query = listLiveSagas // the few that are alive, not all that ever were
	}
	found, err := list(ctx, s, sagaRow, query, string(status), [16]byte(after), limit)
	return found, failure("list sagas", err)
}
