package conform

import (
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// ofVersion is a new saga of a version, due at a moment unless that is zero.
func ofVersion(v saga.Version, key string, due time.Time) saga.Record {
	r := newSaga(v.Name, key)
	r.Version, r.DueAt = v.Number, due
	return r
}

var (
	firstVersion  = saga.Version{Name: "conform.saga", Number: 1}
	secondVersion = saga.Version{Name: "conform.saga", Number: 2}
	otherName     = saga.Version{Name: "conform.other", Number: 1}
)

var sagaVersionCases = []storeCase{
	{"timers are those of the versions that are asked for, however many others are due before them", func(s store) {
		first := ofVersion(firstVersion, "a", now().Add(-time.Hour))
		second := ofVersion(secondVersion, "b", now().Add(-2*time.Hour))
		other := ofVersion(otherName, "c", now().Add(-3*time.Hour))
		var unknown []saga.Record
		for range 300 {
			unknown = append(unknown, ofVersion(saga.Version{Name: "conform.saga", Number: 3}, skald.NewID().String(), now().Add(-24*time.Hour)))
		}
		s.save(append(unknown, first, second, other)...)
		for _, c := range []struct {
			versions []saga.Version
			want     []saga.Record
		}{
			{nil, nil},
			{[]saga.Version{firstVersion}, []saga.Record{first}},
			{[]saga.Version{firstVersion, secondVersion}, []saga.Record{second, first}},
			{[]saga.Version{firstVersion, otherName}, []saga.Record{other, first}},
			{[]saga.Version{{Name: "conform.other", Number: 2}}, nil},
		} {
			s.dueOfAre(c.versions, now(), saga.Due{}, 10, c.want...)
			var next time.Time
			if len(c.want) > 0 {
				next = c.want[0].DueAt
			}
			s.nextDueOfIs(c.versions, next)
		}
	}},
	{"due sagas are read page by page, those of one moment in the order of their ids", func(s store) {
		versions := []saga.Version{secondVersion, otherName, firstVersion}
		early, late := now().Add(-time.Hour), now().Add(-time.Minute)
		var records []saga.Record
		for i := range 7 {
			at := early
			if i >= 4 {
				at = late
			}
			records = append(records, ofVersion(versions[i%3], skald.NewID().String(), at))
		}
		s.save(append(slices.Clone(records), ofVersion(firstVersion, "not yet", now().Add(time.Hour)))...)
		s.dueOfAre(versions, now(), saga.Due{}, 3, records[:3]...)
		s.dueOfAre(versions, now(), dueOf(records[2]), 3, records[3:6]...)
		s.dueOfAre(versions, now(), dueOf(records[5]), 3, records[6])
		s.dueOfAre(versions, now(), dueOf(records[6]), 3)
	}},
	{"live sagas are counted by name and version", func(s store) {
		s.liveAre()
		done := ofVersion(firstVersion, "done", time.Time{})
		s.save(done, ofVersion(firstVersion, "a", time.Time{}), ofVersion(firstVersion, "b", now()), ofVersion(otherName, "c", now()))
		waiting := ofVersion(secondVersion, "d", time.Time{})
		s.save(next(done, ended), waiting)
		s.save(next(waiting, parkedSaga))
		s.liveAre(saga.Live{Version: otherName, Count: 1}, saga.Live{Version: firstVersion, Count: 2}, saga.Live{Version: secondVersion, Count: 1})
	}},
	{"live sagas of a version are listed in the order of their keys, page by page", func(s store) {
		var live []saga.Record
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			live = append(live, ofVersion(firstVersion, key, time.Time{}))
		}
		done := ofVersion(firstVersion, "bb", time.Time{})
		s.save(live[4], live[1], done, live[0], live[3], live[2], ofVersion(secondVersion, "cc", now()), ofVersion(otherName, "c", now()))
		s.save(next(done, compensated))
		s.liveOfAre(firstVersion, "", 10, live...)
		s.liveOfAre(firstVersion, "", 2, live[:2]...)
		s.liveOfAre(firstVersion, "b", 2, live[2:4]...)
		s.liveOfAre(firstVersion, "d", 2, live[4])
		s.liveOfAre(firstVersion, "e", 2)
	}},
}

// liveAre fails unless those are the counts; an example has to be a live saga of its version.
func (s store) liveAre(want ...saga.Live) {
	s.Helper()
	got, err := s.Store.CountLive(s.Context())
	s.must(err, "count live sagas")
	same := func(a, b saga.Live) bool { return a.Version == b.Version && a.Count == b.Count }
	if !slices.EqualFunc(got, want, same) {
		s.broken("live are %+v, not %+v", got, want)
	}
	for _, l := range got {
		if r := s.findLive(l.Name, l.Key); r == nil || r.Version != l.Number {
			s.broken("the example %q of %s is %v", l.Key, l.Version, r)
		}
	}
}

func (s store) liveOfAre(v saga.Version, after string, limit int, want ...saga.Record) {
	s.Helper()
	got, err := s.Store.ListLive(s.Context(), v, after, limit)
	s.must(err, "list live sagas")
	s.sameSagas(got, want...)
	for i := range want {
		if got[i].ID != want[i].ID {
			s.broken("saga %d of the list is that of key %q, not of %q", i, got[i].Key, want[i].Key)
		}
	}
}
