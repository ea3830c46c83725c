package conform

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var dedupCases = []storeCase{
	{"a message is handled once its record has committed, and for its group only", func(s store) {
		id := skald.NewID()
		s.record("g", now(), id)
		same(s.checker, "handled by the group", s.handled("g", id, skald.NewID()), []skald.ID{id})
		same(s.checker, "handled by another group", s.handled("h", id), nil)
	}},
	{"a record that was rolled back is none", func(s store) {
		id, b := skald.NewID(), s.begin()
		s.must(s.Store.RecordHandled(s.Context(), b.Tx(), "g", now(), []inbox.Handled{{ID: id}}), "record")
		s.must(b.Rollback(), "roll back")
		same(s.checker, "handled", s.handled("g", id), nil)
	}},
	{"the recorded reply comes back bit for bit", func(s store) {
		answered, silent := skald.NewID(), skald.NewID()
		reply := []byte{0, 1, 0xff, '\'', 0}
		s.batch(func(tx skald.Tx) error {
			return s.Store.RecordHandled(s.Context(), tx, "g", now(), []inbox.Handled{{ID: answered, Reply: reply}, {ID: silent}})
		})
		s.batch(func(tx skald.Tx) error {
			handled, err := s.Store.Handled(s.Context(), tx, "g", []skald.ID{answered, silent})
			for _, h := range handled {
				if h.ID == answered && !bytes.Equal(h.Reply, reply) || h.ID == silent && h.Reply != nil {
					s.broken("the reply is %v; recorded was %v for %s, and none for %s", h, reply, answered, silent)
				}
			}
			return err
		})
	}},
	{"a second record of a message is an error", func(s store) {
		id := skald.NewID()
		s.record("g", now(), id)
		s.record("h", now(), id)
		err := s.tryBatch(s.Context(), func(tx skald.Tx) error {
			return s.Store.RecordHandled(s.Context(), tx, "g", now(), []inbox.Handled{{ID: skald.NewID()}, {ID: id}})
		})
		if err == nil {
			s.broken("a message was recorded as handled twice")
		}
	}},
	{"a batch of any size is looked up and recorded", func(s store) {
		for _, n := range []int{0, 1, 64, 65, 1000} {
			list := ids(messages("", n))
			s.record("g", now(), list...)
			same(s.checker, "handled", s.handled("g", append(list, skald.NewID())...), list)
		}
	}},
	{"cleaning up deletes records and barriers older than the moment, up to the limit, and no other", cleansInbox},
}

func (s store) record(group string, at time.Time, list ...skald.ID) {
	s.Helper()
	handled := make([]inbox.Handled, len(list))
	for i, id := range list {
		handled[i].ID = id
	}
	s.batch(func(tx skald.Tx) error { return s.Store.RecordHandled(s.Context(), tx, group, at, handled) })
}

func (s store) handled(group string, list ...skald.ID) []skald.ID {
	s.Helper()
	var got []skald.ID
	s.batch(func(tx skald.Tx) error {
		handled, err := s.Store.Handled(s.Context(), tx, group, list)
		got = nil
		for _, h := range handled {
			got = append(got, h.ID)
		}
		return err
	})
	return got
}

func cleansInbox(s store) {
	moment := now().Add(-time.Hour)
	old, young := ids(messages("", 7)), ids(messages("", 3))
	oldKey, youngKey := inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}, inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}
	s.record("g", moment.Add(-time.Second), old...)
	s.record("g", moment.Add(time.Second), young...)
	s.saveBarriers(moment.Add(-time.Second), inbox.Barrier{BarrierKey: oldKey, State: inbox.BarrierDone})
	s.saveBarriers(moment.Add(time.Second), inbox.Barrier{BarrierKey: youngKey, State: inbox.BarrierDone})
	total := 0
	for {
		n, err := s.Store.CleanInbox(s.Context(), moment, 3)
		s.must(err, "clean up")
		if n > 3 {
			s.broken("%d records were deleted, more than the limit of 3", n)
		}
		if total += n; n == 0 {
			break
		}
	}
	if total != len(old)+1 {
		s.broken("%d records were deleted; %d are older than the moment", total, len(old)+1)
	}
	same(s.checker, "records left", s.handled("g", append(old, young...)...), young)
	same(s.checker, "barriers left", s.barriers(oldKey, youngKey), []inbox.Barrier{{BarrierKey: youngKey, State: inbox.BarrierDone}})
}

var barrierCases = []storeCase{
	{"an attempt of which nothing is known has no barrier", func(s store) {
		same(s.checker, "barriers", s.barriers(inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}), nil)
	}},
	{"a barrier comes back as it was saved, by saga, step and attempt", func(s store) {
		first, second := skald.NewID(), skald.NewID()
		want := []inbox.Barrier{
			{BarrierKey: inbox.BarrierKey{Saga: first, Step: "reserve", Attempt: 1}, State: inbox.BarrierDone, Command: skald.NewID()},
			{BarrierKey: inbox.BarrierKey{Saga: first, Step: "reserve", Attempt: 2}, State: inbox.BarrierUndone},
			{BarrierKey: inbox.BarrierKey{Saga: first, Step: "Gebühr zahlen", Attempt: 1}, State: inbox.BarrierRefused, Command: skald.NewID()},
			{BarrierKey: inbox.BarrierKey{Saga: second, Step: "reserve", Attempt: 1}, State: inbox.BarrierBarred},
		}
		s.saveBarriers(now(), want...)
		same(s.checker, "barriers", s.barriers(want[0].BarrierKey, want[1].BarrierKey, want[2].BarrierKey, want[3].BarrierKey), want)
		same(s.checker, "barriers", s.barriers(want[1].BarrierKey, inbox.BarrierKey{Saga: second, Step: "reserve", Attempt: 2}), want[1:2])
	}},
	{"a barrier that is saved again is replaced", func(s store) {
		b := inbox.Barrier{BarrierKey: inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}, State: inbox.BarrierDone, Command: skald.NewID()}
		s.saveBarriers(now(), b)
		b.State = inbox.BarrierUndone
		s.saveBarriers(now(), b)
		same(s.checker, "barriers", s.barriers(b.BarrierKey), []inbox.Barrier{b})
	}},
	{"any number of barriers is locked and saved at once", func(s store) {
		for _, n := range []int{0, 65, 1000} {
			var keys []inbox.BarrierKey
			var want []inbox.Barrier
			for i := range n {
				keys = append(keys, inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: i + 1})
				want = append(want, inbox.Barrier{BarrierKey: keys[i], State: inbox.BarrierDone})
			}
			s.saveBarriers(now(), want...)
			same(s.checker, "barriers", s.barriers(keys...), want)
		}
	}},
	// Faults: 58.
	{"whoever locks a key of which nothing is known has it to itself", func(s store) {
		const contenders = 6
		key := inbox.BarrierKey{Saga: skald.NewID(), Step: "s", Attempt: 1}
		ctx, first := s.patient(), make(chan bool, contenders)
		ended := make(chan error, contenders)
		for range contenders {
			go func() { ended <- s.retried(ctx, func() error { return s.contend(key, first) }) }()
		}
		for range contenders {
			s.must(await(s.checker, "a contender", ended), "lock and save a barrier")
		}
		if n := len(first); n != 1 {
			s.broken("%d of %d transactions found that they were the first", n, contenders)
		}
	}},
}

// contend saves a barrier if there is none, and says so once that has committed.
func (s store) contend(key inbox.BarrierKey, first chan<- bool) error {
	ctx, mine := s.Context(), false
	err := s.tryBatch(ctx, func(tx skald.Tx) error {
		found, err := s.Store.LockBarriers(ctx, tx, []inbox.BarrierKey{key})
		mine = err == nil && len(found) == 0
		return errors.Join(err, s.saveIf(ctx, tx, mine, inbox.Barrier{BarrierKey: key, State: inbox.BarrierDone}))
	})
	if err == nil && mine {
		first <- true
	}
	return err
}

func (s store) saveIf(ctx context.Context, tx skald.Tx, condition bool, b inbox.Barrier) error {
	if !condition {
		return nil
	}
	return s.Store.SaveBarriers(ctx, tx, now(), []inbox.Barrier{b})
}

func (s store) barriers(keys ...inbox.BarrierKey) []inbox.Barrier {
	s.Helper()
	var got []inbox.Barrier
	s.batch(func(tx skald.Tx) (err error) {
		got, err = s.Store.LockBarriers(s.Context(), tx, keys)
		return err
	})
	return got
}

func (s store) saveBarriers(at time.Time, barriers ...inbox.Barrier) {
	s.Helper()
	keys := make([]inbox.BarrierKey, len(barriers))
	for i := range barriers {
		keys[i] = barriers[i].BarrierKey
	}
	s.batch(func(tx skald.Tx) error {
		if _, err := s.Store.LockBarriers(s.Context(), tx, keys); err != nil {
			return err
		}
		return s.Store.SaveBarriers(s.Context(), tx, at, barriers)
	})
}
