package conform

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

func newSaga(name, key string) saga.Record {
	return saga.Record{
		ID: skald.NewID(), Name: name, Version: 1, Key: key, Status: saga.Running, Step: "reserve",
		State: []byte(`{"n":1}`), Progress: []byte{1, 2, 3}, StartedAt: now(), UpdatedAt: now(), Revision: 1,
	}
}

// next is the record's next revision.
func next(r saga.Record, change func(r *saga.Record)) saga.Record {
	r.Revision++
	change(&r)
	return r
}

func ended(r *saga.Record)       { r.Status = saga.Completed }
func compensated(r *saga.Record) { r.Status = saga.Compensated }
func parkedSaga(r *saga.Record)  { r.Status = saga.Parked }

var sagaCases = []storeCase{
	{"a saga comes back as it was saved", func(s store) {
		full := newSaga("conform.saga", "Zürich/1 'x'")
		full.Version, full.Request, full.Status, full.Step, full.Reason = 3, "req \"1\"", saga.Parked, "Geld holen", "it's 100 %\nbroken"
		full.State, full.Progress = []byte{0, 0xff, '\'', 0}, []byte(" {} ")
		full.Trace = skald.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b"}
		full.DueAt = now().Add(time.Hour)
		plain := newSaga("conform.saga", "k2")
		s.save(full, plain)
		s.sameSagas(s.load(full.ID, skald.NewID(), plain.ID), full, plain)
	}},
	{"an update replaces what was saved", func(s store) {
		first, other := newSaga("conform.saga", "k"), newSaga("conform.saga", "l")
		s.save(first, other)
		second := next(first, func(r *saga.Record) {
			r.Status, r.Step, r.Reason, r.State, r.Progress = saga.Compensating, "charge", "refused", []byte("new"), []byte("newer")
			r.UpdatedAt, r.DueAt = now().Add(time.Second), now().Add(time.Minute)
		})
		s.save(second)
		s.sameSagas(s.load(first.ID, other.ID), second, other)
		third := next(second, func(r *saga.Record) { r.DueAt = time.Time{} })
		s.save(third)
		s.sameSagas(s.load(first.ID), third)
	}},
	{"inserts and updates are saved together, any number of them", func(s store) {
		var first, second []saga.Record
		for range 500 {
			r := newSaga("conform.saga", skald.NewID().String())
			first, second = append(first, r), append(second, next(r, ended), newSaga("conform.saga", skald.NewID().String()))
		}
		s.save(first...)
		s.save(second...)
		s.save()
		var list []skald.ID
		for _, r := range second {
			list = append(list, r.ID)
		}
		s.sameSagas(s.load(list...), second...)
	}},
	{"a batch sees the sagas that it saved itself", func(s store) {
		r := newSaga("conform.saga", "k")
		r.Request = "req"
		s.batch(func(tx skald.Tx) error {
			s.must(s.Store.SaveSagas(s.Context(), tx, []saga.Record{r}), "save")
			list, err := s.Store.LoadSagas(s.Context(), tx, []skald.ID{r.ID})
			s.must(err, "load")
			s.sameSagas(list, r)
			live, err := s.Store.FindLive(s.Context(), tx, r.Name, r.Key)
			s.must(err, "find live")
			byRequest, err := s.Store.FindRequest(s.Context(), tx, r.Name, r.Request)
			if live == nil || byRequest == nil {
				s.broken("by key it found %v, by request %v", live, byRequest)
			}
			return err
		})
	}},
	{"an update whose revision does not follow the stored one changes nothing, and may be tried again", func(s store) {
		r := newSaga("conform.saga", "k")
		s.save(r)
		second := next(r, parkedSaga)
		third := next(second, ended)
		s.stale(third)
		s.save(second)
		s.stale(second)
		s.sameSagas(s.load(r.ID), second)
		s.save(third)
		s.sameSagas(s.load(r.ID), third)
	}},
	{"a live saga is found by its name and key, whatever it waits for", func(s store) {
		r, other := newSaga("conform.saga", "k"), newSaga("conform.other", "k")
		s.save(r, other)
		s.foundLive(r, "conform.saga", "k")
		s.foundLive(other, "conform.other", "k")
		s.notLive("conform.saga", "l")
		stuck := next(r, parkedSaga)
		s.save(stuck)
		s.foundLive(stuck, "conform.saga", "k")
		s.save(next(stuck, ended))
		s.notLive("conform.saga", "k")
	}},
	{"a second live saga of a name and key is a conflict", func(s store) {
		r := newSaga("conform.saga", "k")
		s.save(r)
		s.conflicts(newSaga("conform.saga", "k"))
		s.save(newSaga("conform.other", "k"))
		s.save(next(r, parkedSaga))
		s.conflicts(newSaga("conform.saga", "k"))
		s.foundLive(next(r, parkedSaga), "conform.saga", "k")
	}},
	{"once a saga has ended its key is free again", func(s store) {
		for _, end := range []func(*saga.Record){ended, compensated, ended} {
			r := newSaga("conform.saga", "k")
			s.save(r)
			s.save(next(r, end))
		}
		last := newSaga("conform.saga", "k")
		s.save(last)
		s.foundLive(last, "conform.saga", "k")
	}},
	{"a request id starts one saga of a name, even after its end", func(s store) {
		r, other := newSaga("conform.saga", "k"), newSaga("conform.other", "k")
		r.Request, other.Request = "req", "req"
		s.save(r, other)
		done := next(r, ended)
		s.save(done)
		again := newSaga("conform.saga", "l")
		again.Request = "req"
		s.conflicts(again)
		s.batch(func(tx skald.Tx) error {
			found, err := s.Store.FindRequest(s.Context(), tx, "conform.saga", "req")
			if err == nil && found != nil {
				s.sameSagas([]saga.Record{*found}, done)
			} else {
				s.broken("the saga of the request was not found (%v)", err)
			}
			none, err := s.Store.FindRequest(s.Context(), tx, "conform.saga", "another")
			if none != nil {
				s.broken("another request found saga %v", none)
			}
			return err
		})
	}},
	{"sagas without a request id do not conflict", func(s store) {
		s.save(newSaga("conform.saga", "k"), newSaga("conform.saga", "l"))
	}},
	{"a loaded saga is locked until the transaction ends", func(s store) {
		const contenders = 4
		r := newSaga("conform.saga", "k")
		s.save(r)
		ctx, failed := s.patient(), make(chan error, contenders)
		for range contenders {
			go func() { failed <- s.retried(ctx, func() error { return s.advance(ctx, r.ID) }) }()
		}
		for range contenders {
			s.must(await(s.checker, "an update", failed), "load and save a saga")
		}
		if got := s.load(r.ID)[0].Revision; got != 1+contenders {
			s.broken("after %d updates at once the revision is %d: an update was lost", contenders, got)
		}
	}},
}

// advance loads a saga and saves its next revision.
func (s store) advance(ctx context.Context, id skald.ID) error {
	return s.tryBatch(ctx, func(tx skald.Tx) error {
		list, err := s.Store.LoadSagas(ctx, tx, []skald.ID{id})
		if err != nil {
			return err
		}
		return s.Store.SaveSagas(ctx, tx, []saga.Record{next(list[0], func(*saga.Record) {})})
	})
}

func (s store) save(records ...saga.Record) {
	s.Helper()
	s.batch(func(tx skald.Tx) error { return s.Store.SaveSagas(s.Context(), tx, records) })
}

func (s store) conflicts(r saga.Record) {
	s.Helper()
	err := s.tryBatch(s.Context(), func(tx skald.Tx) error { return s.Store.SaveSagas(s.Context(), tx, []saga.Record{r}) })
	s.isError(err, saga.ErrConflict)
}

func (s store) stale(r saga.Record) {
	s.Helper()
	err := s.tryBatch(s.Context(), func(tx skald.Tx) error { return s.Store.SaveSagas(s.Context(), tx, []saga.Record{r}) })
	s.isError(err, saga.ErrStale)
	if !s.Store.Retryable(err) {
		s.broken("%v is not retryable", err)
	}
}

func (s store) load(list ...skald.ID) []saga.Record {
	s.Helper()
	var records []saga.Record
	s.batch(func(tx skald.Tx) (err error) {
		records, err = s.Store.LoadSagas(s.Context(), tx, list)
		return err
	})
	return records
}

func (s store) foundLive(want saga.Record, name, key string) {
	s.Helper()
	found := s.findLive(name, key)
	if found == nil {
		s.broken("no live saga was found")
	}
	s.sameSagas([]saga.Record{*found}, want)
}

func (s store) notLive(name, key string) {
	s.Helper()
	if found := s.findLive(name, key); found != nil {
		s.broken("a live saga %v was found", *found)
	}
}

func (s store) findLive(name, key string) *saga.Record {
	s.Helper()
	var found *saga.Record
	s.batch(func(tx skald.Tx) (err error) {
		found, err = s.Store.FindLive(s.Context(), tx, name, key)
		return err
	})
	return found
}

// sameSagas fails unless the records are the wanted ones, in whatever order.
func (s store) sameSagas(got []saga.Record, want ...saga.Record) {
	s.Helper()
	if len(got) != len(want) {
		s.broken("there are %d sagas, not %d", len(got), len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(got, func(r saga.Record) bool { return r.ID == w.ID })
		if i < 0 {
			s.broken("saga %s is missing", w.ID)
		}
		if !equalSagas(got[i], w) {
			s.broken("the saga is\n\t%+v\n\tand should be\n\t%+v", got[i], w)
		}
	}
}

func equalSagas(a, b saga.Record) bool {
	same := a.Name == b.Name && a.Version == b.Version && a.Key == b.Key && a.Request == b.Request && a.Status == b.Status &&
		a.Step == b.Step && a.Reason == b.Reason && a.Trace == b.Trace && a.Revision == b.Revision
	return same && bytes.Equal(a.State, b.State) && bytes.Equal(a.Progress, b.Progress) &&
		a.DueAt.Equal(b.DueAt) && a.StartedAt.Equal(b.StartedAt) && a.UpdatedAt.Equal(b.UpdatedAt)
}
