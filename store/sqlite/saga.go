package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

const (
	sagaColumns = "id, name, version, key, request, status, step, reason, state, progress, trace_parent, trace_state, due_at, started_at, updated_at, revision"
	sagaRow     = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	// live is the condition of the partial index, word for word, so that it is used.
	live = "status NOT IN ('completed', 'compensated')"
)

var (
	loadSagas   = newBulk("SELECT "+sagaColumns+" FROM skald_sagas WHERE id IN (", "?", ")")
	findLive    = newStatement("SELECT " + sagaColumns + " FROM skald_sagas WHERE name = ? AND key = ? AND " + live)
	findRequest = newStatement("SELECT " + sagaColumns + " FROM skald_sagas WHERE name = ? AND request = ? AND request <> ''")
	readSaga    = newStatement("SELECT " + sagaColumns + " FROM skald_sagas WHERE name = ? AND key = ? ORDER BY id DESC LIMIT 1")

	insertSagas = newBulk("INSERT INTO skald_sagas ("+sagaColumns+") VALUES ", sagaRow, "")
	// What identifies an instance and how it started does not change.
	updateSagas = newBulk("INSERT INTO skald_sagas ("+sagaColumns+") VALUES ", sagaRow, ` ON CONFLICT (id) DO UPDATE SET
status = excluded.status, step = excluded.step, reason = excluded.reason, state = excluded.state, progress = excluded.progress,
due_at = excluded.due_at, updated_at = excluded.updated_at, revision = excluded.revision WHERE revision = excluded.revision - 1`)

	addHistory  = newBulk("INSERT INTO skald_history (saga, number, at, step, what, detail) VALUES ", "(?, ?, ?, ?, ?, ?)", "")
	readHistory = newStatement("SELECT saga, number, at, step, what, detail FROM skald_history WHERE saga = ? ORDER BY number")

	readDefinition     = newStatement("SELECT fingerprint FROM skald_definitions WHERE name = ? AND version = ?")
	registerDefinition = newStatement("INSERT INTO skald_definitions (name, version, fingerprint) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")

	listSagas     = newStatement("SELECT " + sagaColumns + " FROM skald_sagas WHERE ?1 IN ('', status) AND id > ?2 ORDER BY id LIMIT ?3")
	listLiveSagas = newStatement("SELECT " + sagaColumns + " FROM skald_sagas INDEXED BY skald_sagas_live WHERE status = ?1 AND id > ?2 AND " + live + " ORDER BY id LIMIT ?3")
)

func scanSaga(list *[]saga.Record) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var r saga.Record
		err := rows.Scan((*idColumn)(&r.ID), &r.Name, &r.Version, &r.Key, &r.Request, &r.Status, &r.Step, &r.Reason, &r.State, &r.Progress,
			&r.Trace.Parent, &r.Trace.State, (*momentColumn)(&r.DueAt), (*momentColumn)(&r.StartedAt), (*momentColumn)(&r.UpdatedAt), &r.Revision)
		*list = append(*list, r)
		return err
	}
}

// LoadSagas implements [saga.Store]. The one write lock is what locks them.
func (s *Store) LoadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID) ([]saga.Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var found []saga.Record
	t, err := transaction(tx)
	if err == nil {
		err = s.lock(ctx, t)
	}
	if err == nil {
		err = queryKeys(ctx, s, t, loadSagas, nil, ids, bindID, scanSaga(&found))
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: load %d sagas: %w", len(ids), err)
	}
	return found, nil
}

// FindLive implements [saga.Store].
func (s *Store) FindLive(ctx context.Context, tx skald.Tx, name, key string) (*saga.Record, error) {
	t, err := transaction(tx)
	if err != nil {
		return nil, fmt.Errorf("sqlite: find the live saga %q of key %q: %w", name, key, err)
	}
	found, err := s.oneSaga(ctx, t, findLive, name, key)
	if err != nil {
		return nil, fmt.Errorf("sqlite: find the live saga %q of key %q: %w", name, key, err)
	}
	return found, nil
}

// FindRequest implements [saga.Store].
func (s *Store) FindRequest(ctx context.Context, tx skald.Tx, name, request string) (*saga.Record, error) {
	t, err := transaction(tx)
	if err != nil {
		return nil, fmt.Errorf("sqlite: find the saga %q of request %q: %w", name, request, err)
	}
	found, err := s.oneSaga(ctx, t, findRequest, name, request)
	if err != nil {
		return nil, fmt.Errorf("sqlite: find the saga %q of request %q: %w", name, request, err)
	}
	return found, nil
}

// ReadSaga implements [saga.Store].
func (s *Store) ReadSaga(ctx context.Context, name, key string) (*saga.Record, error) {
	found, err := s.oneSaga(ctx, nil, readSaga, name, key)
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the saga %q of key %q: %w", name, key, err)
	}
	return found, nil
}

func (s *Store) oneSaga(ctx context.Context, tx *sql.Tx, st statement, name, value string) (*saga.Record, error) {
	var found []saga.Record
	if err := s.query(ctx, tx, st, []any{name, value}, scanSaga(&found)); err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// SaveSagas implements [saga.Store].
func (s *Store) SaveSagas(ctx context.Context, tx skald.Tx, records []saga.Record) error {
	fail := func(err error) error { return fmt.Errorf("sqlite: save %d sagas: %w", len(records), err) }
	t, err := transaction(tx)
	if err != nil {
		return fail(err)
	}
	inserts, updates := byRevision(records)
	// Updates come first: they may end the saga whose key a new one takes.
	updated, err := execRows(ctx, s, t, updateSagas, updates, bindSaga)
	if err != nil {
		return fail(conflict(err))
	}
	if updated != int64(len(updates)) {
		return fail(saga.ErrStale)
	}
	if _, err := execRows(ctx, s, t, insertSagas, inserts, bindSaga); err != nil {
		return fail(conflict(err))
	}
	return nil
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

func bindSaga(args []any, record **saga.Record) []any {
	r := *record
	var due any
	if !r.DueAt.IsZero() {
		due = micros(r.DueAt)
	}
	return append(args, r.ID[:], r.Name, int64(r.Version), r.Key, r.Request, string(r.Status), r.Step, r.Reason, notNull(r.State), notNull(r.Progress),
		r.Trace.Parent, r.Trace.State, due, micros(r.StartedAt), micros(r.UpdatedAt), r.Revision)
}

// conflict is ErrConflict where a unique index says so.
func conflict(err error) error {
	switch extendedCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w (%w)", saga.ErrConflict, err)
	default:
		return err
	}
}

// AddHistory implements [saga.Store].
func (s *Store) AddHistory(ctx context.Context, tx skald.Tx, entries []saga.Entry) error {
	t, err := transaction(tx)
	if err == nil {
		_, err = execRows(ctx, s, t, addHistory, entries, func(args []any, e *saga.Entry) []any {
			return append(args, e.Saga[:], int64(e.Number), micros(e.At), e.Step, e.What, e.Detail)
		})
	}
	if err != nil {
		return fmt.Errorf("sqlite: add %d entries to the history of sagas: %w", len(entries), err)
	}
	return nil
}

// ReadHistory implements [saga.Store].
func (s *Store) ReadHistory(ctx context.Context, id skald.ID) ([]saga.Entry, error) {
	var entries []saga.Entry
	err := s.query(ctx, nil, readHistory, []any{id[:]}, func(rows *sql.Rows) error {
		var e saga.Entry
		err := rows.Scan((*idColumn)(&e.Saga), &e.Number, (*momentColumn)(&e.At), &e.Step, &e.What, &e.Detail)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: read the history of saga %s: %w", id, err)
	}
	return entries, nil
}

// RegisterDefinition implements [saga.Store].
func (s *Store) RegisterDefinition(ctx context.Context, name string, version int, fingerprint string) (string, error) {
	stored := ""
	err := s.write(ctx, func(tx *sql.Tx) error {
		if _, err := s.exec(ctx, tx, registerDefinition, name, int64(version), fingerprint); err != nil {
			return err
		}
		return s.query(ctx, tx, readDefinition, []any{name, int64(version)}, func(rows *sql.Rows) error { return rows.Scan(&stored) })
	})
	if err != nil {
		return "", fmt.Errorf("sqlite: register version %d of the definition %q: %w", version, name, err)
	}
	return stored, nil
}

// ListSagas implements [saga.Store].
func (s *Store) ListSagas(ctx context.Context, status saga.Status, after skald.ID, limit int) ([]saga.Record, error) {
	st := listSagas
	if status != "" && !status.Ended() {
		st = listLiveSagas // the few that are alive, not all that ever were
	}
	var list []saga.Record
	if err := s.query(ctx, nil, st, []any{string(status), after[:], limit}, scanSaga(&list)); err != nil {
		return nil, fmt.Errorf("sqlite: list sagas: %w", err)
	}
	return list, nil
}
