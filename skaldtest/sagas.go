package skaldtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// sagaKey is a definition's name with a business key or a request id.
type sagaKey struct{ name, key string }

type historyKey struct {
	saga   skald.ID
	number int
}

type definitionKey struct {
	name    string
	version int
}

func copyRecord(r saga.Record) saga.Record {
	r.State, r.Progress = slices.Clone(r.State), slices.Clone(r.Progress)
	return r
}

// recordAt returns the saga that an index names, nil when it names none.
func (v *view) recordAt(index *layer[sagaKey, skald.ID], key sagaKey) *saga.Record {
	id, ok := index.get(key)
	if !ok {
		return nil
	}
	record, _ := v.sagas.get(id)
	record = copyRecord(record)
	return &record
}

// LoadSagas implements [saga.Store].
func (s *Store) LoadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID) ([]saga.Record, error) {
	var found []saga.Record
	err := s.within(ctx, tx, func(v *view) error {
		for _, id := range ids {
			if record, ok := v.sagas.get(id); ok {
				found = append(found, copyRecord(record))
			}
		}
		return nil
	})
	return found, err
}

// FindLive implements [saga.Store].
func (s *Store) FindLive(ctx context.Context, tx skald.Tx, name, key string) (*saga.Record, error) {
	var found *saga.Record
	err := s.within(ctx, tx, func(v *view) error {
		found = v.recordAt(&v.liveSagas, sagaKey{name, key})
		return nil
	})
	return found, err
}

// FindRequest implements [saga.Store].
func (s *Store) FindRequest(ctx context.Context, tx skald.Tx, name, request string) (*saga.Record, error) {
	var found *saga.Record
	err := s.within(ctx, tx, func(v *view) error {
		found = v.recordAt(&v.requests, sagaKey{name, request})
		return nil
	})
	return found, err
}

// SaveSagas implements [saga.Store].
func (s *Store) SaveSagas(ctx context.Context, tx skald.Tx, records []saga.Record) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, record := range records {
			if err := v.saveSaga(copyRecord(record)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (v *view) saveSaga(r saga.Record) error {
	there, exists := v.sagas.get(r.ID)
	if exists != (r.Revision > 1) || exists && r.Revision != there.Revision+1 {
		return fmt.Errorf("skaldtest: saga %s: revision %d does not follow revision %d: %w", r.ID, r.Revision, there.Revision, saga.ErrStale)
	}
	key := sagaKey{r.Name, r.Key}
	live, taken := v.liveSagas.get(key)
	switch mine := taken && live == r.ID; {
	case r.Status.Ended() && mine:
		v.liveSagas.delete(key)
	case !r.Status.Ended() && taken && !mine:
		return fmt.Errorf("skaldtest: saga %q of key %q: %w", r.Name, r.Key, saga.ErrConflict)
	case !r.Status.Ended():
		v.liveSagas.put(key, r.ID)
	}
	if !exists {
		if err := v.indexNewSaga(r); err != nil {
			return err
		}
	}
	if v.dueSagas.delete(r.ID); !r.DueAt.IsZero() {
		v.dueSagas.put(r.ID, r.DueAt)
	}
	v.sagas.put(r.ID, r)
	return nil
}

func (v *view) indexNewSaga(r saga.Record) error {
	v.newestSagas.put(sagaKey{r.Name, r.Key}, r.ID)
	if r.Request == "" {
		return nil
	}
	key := sagaKey{r.Name, r.Request}
	if _, taken := v.requests.get(key); taken {
		return fmt.Errorf("skaldtest: saga %q of request %q: %w", r.Name, r.Request, saga.ErrConflict)
	}
	v.requests.put(key, r.ID)
	return nil
}

// AddHistory implements [saga.Store].
func (s *Store) AddHistory(ctx context.Context, tx skald.Tx, entries []saga.Entry) error {
	return s.within(ctx, tx, func(v *view) error {
		for _, entry := range entries {
			key := historyKey{entry.Saga, entry.Number}
			if _, taken := v.history.get(key); taken {
				return fmt.Errorf("skaldtest: saga %s has an entry %d in its history already", entry.Saga, entry.Number)
			}
			v.history.put(key, entry)
		}
		return nil
	})
}

// DueSagas implements [saga.Store].
func (s *Store) DueSagas(ctx context.Context, versions []saga.Version, now time.Time, after saga.Due, limit int) ([]saga.Due, error) {
	var due []saga.Due
	err := s.read(ctx, func(v *view) {
		for d := range v.timers(versions) {
			if !d.At.After(now) && compareDue(d, after) > 0 {
				due = append(due, d)
			}
		}
	})
	slices.SortFunc(due, compareDue)
	return due[:min(len(due), limit)], err
}

func compareDue(a, b saga.Due) int {
	return cmp.Or(a.At.Compare(b.At), bytes.Compare(a.ID[:], b.ID[:]))
}

// timers are those of the versions, in no order.
func (v *view) timers(versions []saga.Version) iter.Seq[saga.Due] {
	known := map[saga.Version]bool{}
	for _, version := range versions {
		known[version] = true
	}
	return func(yield func(saga.Due) bool) {
		for id, at := range v.dueSagas.all() {
			r, _ := v.sagas.get(id)
			if known[saga.Version{Name: r.Name, Number: r.Version}] && !yield(saga.Due{ID: id, At: at}) {
				return
			}
		}
	}
}

// NextDue implements [saga.Store].
func (s *Store) NextDue(ctx context.Context, versions []saga.Version) (time.Time, bool, error) {
	var next time.Time
	var ok bool
	err := s.read(ctx, func(v *view) {
		for d := range v.timers(versions) {
			if !ok || d.At.Before(next) {
				next, ok = d.At, true
			}
		}
	})
	return next, ok, err
}

// live are the sagas that have not ended, in the order of their names and keys.
func (v *view) live() []saga.Record {
	var list []saga.Record
	for _, key := range sorted(&v.liveSagas, func(a, b sagaKey) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.key, b.key)) }) {
		list = append(list, *v.recordAt(&v.liveSagas, key))
	}
	return list
}

// CountLive implements [saga.Store].
func (s *Store) CountLive(ctx context.Context) ([]saga.Live, error) {
	var list []saga.Live
	err := s.read(ctx, func(v *view) {
		for _, r := range v.live() {
			version := saga.Version{Name: r.Name, Number: r.Version}
			i := slices.IndexFunc(list, func(l saga.Live) bool { return l.Version == version })
			if i < 0 {
				i, list = len(list), append(list, saga.Live{Version: version, Key: r.Key})
			}
			list[i].Count++
		}
	})
	slices.SortFunc(list, func(a, b saga.Live) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number)) })
	return list, err
}

// ListLive implements [saga.Store].
func (s *Store) ListLive(ctx context.Context, version saga.Version, after string, limit int) ([]saga.Record, error) {
	var list []saga.Record
	err := s.read(ctx, func(v *view) {
		for _, r := range v.live() {
			if r.Name == version.Name && r.Version == version.Number && r.Key > after && len(list) < limit {
				list = append(list, r)
			}
		}
	})
	return list, err
}

// RegisterDefinition implements [saga.Store].
func (s *Store) RegisterDefinition(ctx context.Context, name string, version int, fingerprint string) (string, error) {
	err := s.write(ctx, func(v *view) error {
		key := definitionKey{name, version}
		if stored, ok := v.definitions.get(key); ok {
			fingerprint = stored
			return nil
		}
		v.definitions.put(key, fingerprint)
		return nil
	})
	return fingerprint, err
}

// ReadSaga implements [saga.Store].
func (s *Store) ReadSaga(ctx context.Context, name, key string) (*saga.Record, error) {
	var found *saga.Record
	err := s.read(ctx, func(v *view) { found = v.recordAt(&v.newestSagas, sagaKey{name, key}) })
	return found, err
}

// ReadHistory implements [saga.Store].
func (s *Store) ReadHistory(ctx context.Context, id skald.ID) ([]saga.Entry, error) {
	var entries []saga.Entry
	err := s.read(ctx, func(v *view) {
		for number := 1; ; number++ {
			entry, ok := v.history.get(historyKey{id, number})
			if !ok {
				return
			}
			entries = append(entries, entry)
		}
	})
	return entries, err
}

// ListSagas implements [saga.Store].
func (s *Store) ListSagas(ctx context.Context, status saga.Status, after skald.ID, limit int) ([]saga.Record, error) {
	var list []saga.Record
	err := s.read(ctx, func(v *view) {
		for _, id := range sorted(&v.sagas, func(a, b skald.ID) int { return bytes.Compare(a[:], b[:]) }) {
			record, _ := v.sagas.get(id)
			if bytes.Compare(id[:], after[:]) > 0 && (status == "" || record.Status == status) && len(list) < limit {
				list = append(list, copyRecord(record))
			}
		}
	})
	return list, err
}
