package conform

import (
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

var sagaListCases = []storeCase{
	{"sagas whose time has come are due, the longest due first", func(s store) {
		var records []saga.Record
		for _, due := range []time.Duration{-time.Minute, time.Hour, -time.Hour, 0, -time.Second} {
			r := newSaga("conform.saga", skald.NewID().String())
			if due != 0 {
				r.DueAt = now().Add(due)
			}
			records = append(records, r)
		}
		s.save(records...)
		s.dueSagasAre(now(), 10, records[2], records[0], records[4])
		s.dueSagasAre(now(), 2, records[2], records[0])
		s.dueSagasAre(now().Add(2*time.Hour), 10, records[2], records[0], records[4], records[1])
	}},
	{"a saga whose timer was moved or cleared is due accordingly", func(s store) {
		r := newSaga("conform.saga", "k")
		r.DueAt = now().Add(-time.Minute)
		s.save(r)
		later := next(r, func(r *saga.Record) { r.DueAt = now().Add(time.Hour) })
		s.save(later)
		s.dueSagasAre(now(), 10)
		s.nextDueIs(later.DueAt)
		s.save(next(later, func(r *saga.Record) { r.DueAt = time.Time{} }))
		s.nextDueIs(time.Time{})
	}},
	{"the next due moment is the earliest", func(s store) {
		s.nextDueIs(time.Time{})
		a, b := newSaga("conform.saga", "a"), newSaga("conform.saga", "b")
		a.DueAt, b.DueAt = now().Add(time.Hour), now().Add(time.Minute)
		s.save(a, b, newSaga("conform.saga", "c"))
		s.nextDueIs(b.DueAt)
	}},
	{"a history is read in order, as it was written", func(s store) {
		r, other := newSaga("conform.saga", "k"), newSaga("conform.saga", "l")
		s.save(r, other)
		var want []saga.Entry
		for i, what := range []string{saga.HistoryStarted, saga.HistorySent, saga.HistoryUndoFail, saga.HistoryParked} {
			want = append(want, saga.Entry{Saga: r.ID, Number: i + 1, At: now(), Step: "Geld 'holen'", What: what, Detail: "100 %\n" + what})
		}
		s.addHistory(want[0], want[1], saga.Entry{Saga: other.ID, Number: 1, At: now(), What: saga.HistoryStarted})
		s.addHistory(want[2:]...)
		s.addHistory()
		s.historyIs(r.ID, want)
		s.historyIs(skald.NewID(), nil)
	}},
	{"a definition's first fingerprint stays", func(s store) {
		for _, step := range []struct {
			name        string
			version     int
			print, want string
		}{
			{"conform.saga", 1, "first", "first"},
			{"conform.saga", 1, "second", "first"},
			{"conform.saga", 1, "first", "first"},
			{"conform.saga", 2, "second", "second"},
			{"conform.other", 1, "third", "third"},
		} {
			got, err := s.Store.RegisterDefinition(s.Context(), step.name, step.version, step.print)
			if err != nil || got != step.want {
				s.broken("registering %+v returned %q (%v)", step, got, err)
			}
		}
	}},
	{"the newest saga of a key is read, live or ended", func(s store) {
		first, second := newSaga("conform.saga", "k"), newSaga("conform.saga", "k")
		second.StartedAt = first.StartedAt.Add(time.Second)
		s.save(first)
		s.save(next(first, ended))
		s.readIs("k", next(first, ended))
		s.save(second)
		s.readIs("k", second)
		s.save(next(second, compensated))
		s.readIs("k", next(second, compensated))
		if r, err := s.Store.ReadSaga(s.Context(), "conform.saga", "another"); r != nil || err != nil {
			s.broken("of a key without sagas it read %v (%v)", r, err)
		}
	}},
	{"sagas are listed by status, in the order of their ids, page by page", func(s store) {
		var records []saga.Record
		for i := range 7 {
			r := newSaga("conform.saga", skald.NewID().String())
			r.Status = []saga.Status{saga.Running, saga.Parked}[i%2]
			records = append(records, r)
		}
		reversed := slices.Clone(records)
		slices.Reverse(reversed)
		s.save(reversed...)
		s.listSagasIs("", skald.ID{}, 10, records...)
		s.listSagasIs("", skald.ID{}, 3, records[:3]...)
		s.listSagasIs("", records[2].ID, 3, records[3:6]...)
		s.listSagasIs(saga.Parked, skald.ID{}, 10, records[1], records[3], records[5])
		s.listSagasIs(saga.Parked, records[1].ID, 1, records[3])
		s.listSagasIs(saga.Completed, skald.ID{}, 10)
	}},
}

func (s store) dueSagasAre(at time.Time, limit int, want ...saga.Record) {
	s.Helper()
	s.dueOfAre([]saga.Version{{Name: "conform.saga", Number: 1}}, at, saga.Due{}, limit, want...)
}

func (s store) dueOfAre(versions []saga.Version, at time.Time, after saga.Due, limit int, want ...saga.Record) {
	s.Helper()
	got, err := s.Store.DueSagas(s.Context(), versions, at, after, limit)
	s.must(err, "read due sagas")
	var wanted []saga.Due
	for _, r := range want {
		wanted = append(wanted, dueOf(r))
	}
	same := func(a, b saga.Due) bool { return a.ID == b.ID && a.At.Equal(b.At) }
	if !slices.EqualFunc(got, wanted, same) {
		s.broken("of %v due are %v, not %v", versions, got, wanted)
	}
}

func dueOf(r saga.Record) saga.Due { return saga.Due{ID: r.ID, At: r.DueAt} }

// nextDueIs fails unless that is the next due moment; zero means none.
func (s store) nextDueIs(want time.Time) {
	s.Helper()
	s.nextDueOfIs([]saga.Version{{Name: "conform.saga", Number: 1}}, want)
}

func (s store) nextDueOfIs(versions []saga.Version, want time.Time) {
	s.Helper()
	at, ok, err := s.Store.NextDue(s.Context(), versions)
	s.must(err, "read the next due moment")
	if ok == want.IsZero() || ok && !at.Equal(want) {
		s.broken("the next due moment is %s (there is one: %t), not %s", at, ok, want)
	}
}

func (s store) addHistory(entries ...saga.Entry) {
	s.Helper()
	s.batch(func(tx skald.Tx) error { return s.Store.AddHistory(s.Context(), tx, entries) })
}

func (s store) historyIs(id skald.ID, want []saga.Entry) {
	s.Helper()
	got, err := s.Store.ReadHistory(s.Context(), id)
	s.must(err, "read a history")
	equal := func(a, b saga.Entry) bool {
		at := a.At.Equal(b.At)
		a.At, b.At = time.Time{}, time.Time{}
		return at && a == b
	}
	if !slices.EqualFunc(got, want, equal) {
		s.broken("the history is\n\t%+v\n\tand should be\n\t%+v", got, want)
	}
}

func (s store) readIs(key string, want saga.Record) {
	s.Helper()
	r, err := s.Store.ReadSaga(s.Context(), "conform.saga", key)
	s.must(err, "read a saga")
	if r == nil {
		s.broken("no saga was read")
	}
	s.sameSagas([]saga.Record{*r}, want)
}

func (s store) listSagasIs(status saga.Status, after skald.ID, limit int, want ...saga.Record) {
	s.Helper()
	got, err := s.Store.ListSagas(s.Context(), status, after, limit)
	s.must(err, "list sagas")
	s.sameSagas(got, want...)
	for i := range want {
		if got[i].ID != want[i].ID {
			s.broken("saga %d of the list is %s, not %s", i, got[i].ID, want[i].ID)
		}
	}
}
