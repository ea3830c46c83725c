package sqlite_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/store/sqlite"
)

func TestHandledIsPerGroupAndKeepsReplies(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	ids := make([]skald.ID, 90)
	handled := make([]inbox.Handled, 0, 45)
	for i := range ids {
		if ids[i] = skald.NewID(); i%2 == 0 {
			handled = append(handled, inbox.Handled{ID: ids[i]})
		}
	}
	handled[3].Reply = []byte("reply")
	inBatch(t, store, func(tx skald.Tx) { must(t, store.RecordHandled(ctx, tx, "kitchen", time.Now(), handled)) })
	inBatch(t, store, func(tx skald.Tx) {
		got, err := store.Handled(ctx, tx, "kitchen", ids)
		must(t, err)
		if !reflect.DeepEqual(got, handled) {
			t.Errorf("handled are %v, not %v", got, handled)
		}
		other, err := store.Handled(ctx, tx, "billing", ids)
		if must(t, err); len(other) != 0 {
			t.Errorf("another group has handled %d", len(other))
		}
		if err := store.RecordHandled(ctx, tx, "kitchen", time.Now(), handled[:1]); err == nil {
			t.Error("a message was recorded as handled twice")
		}
	})
}

func TestCleanInboxGoesByTheMomentOfHandlingWhateverTheIDsSay(t *testing.T) {
	store := fresh(t)
	now := time.Now()
	old, before := now.Add(-48*time.Hour), now.Add(-24*time.Hour)
	idAt := func(at time.Time) skald.ID { return skald.NewIDGenerator(constant{}).Next(at) }
	random := skald.ID{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x40, 0, 0x80} // version 4
	record := func(at time.Time, ids ...skald.ID) {
		t.Helper()
		inBatch(t, store, func(tx skald.Tx) {
			for _, id := range ids {
				must(t, store.RecordHandled(t.Context(), tx, "kitchen", at, []inbox.Handled{{ID: id}}))
				must(t, store.SaveBarriers(t.Context(), tx, at, []inbox.Barrier{{BarrierKey: inbox.BarrierKey{Saga: id, Step: "s"}, State: inbox.BarrierDone}}))
			}
		})
	}
	record(old, idAt(old.Add(-time.Minute)), idAt(now), random) // drawn before, by a clock that is ahead, at random
	record(now, idAt(old.Add(-2*time.Minute)), idAt(now.Add(time.Hour)), skald.ID{})
	clean := func(most int) int {
		t.Helper()
		n, err := store.CleanInbox(t.Context(), before, most)
		must(t, err)
		return n
	}
	if a, b, c := clean(4), clean(4), clean(4); a != 4 || b != 2 || c != 0 {
		t.Errorf("cleaned %d, %d, %d records, not 4, 2, 0", a, b, c)
	}
	for _, table := range []string{"skald_inbox", "skald_barriers"} {
		if n := number(t, store.DB(), "SELECT count(*) FROM "+table); n != 3 {
			t.Errorf("%d records remain in %s, not the 3 that are new", n, table)
		}
	}
}

// constant is a source of no randomness.
type constant struct{}

func (constant) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// queue holds messages: each has the state and the key given.
type queue struct {
	t     *testing.T
	store *sqlite.Store
	now   time.Time
}

func (q queue) hold(key string, states ...inbox.HeldState) []skald.Message {
	q.t.Helper()
	list := messages(len(states), key)
	held := make([]inbox.Held, len(list))
	for i := range list {
		held[i] = inbox.Held{Message: list[i], State: states[i], Attempts: 3, Reason: "r", HeldAt: q.now}
		if states[i] == inbox.HeldRetrying {
			held[i].NextAttempt = q.now
		}
	}
	inBatch(q.t, q.store, func(tx skald.Tx) { must(q.t, q.store.Hold(q.t.Context(), tx, "kitchen", held)) })
	return list
}

func (q queue) due(limit int) []skald.ID {
	q.t.Helper()
	due, err := q.store.DueHeld(q.t.Context(), "kitchen", q.now, limit)
	must(q.t, err)
	var ids []skald.ID
	for _, h := range due {
		ids = append(ids, h.Message.ID)
	}
	return ids
}

func (q queue) unhold(ids ...skald.ID) {
	q.t.Helper()
	inBatch(q.t, q.store, func(tx skald.Tx) { must(q.t, q.store.Unhold(q.t.Context(), tx, "kitchen", ids)) })
}

func (q queue) expect(what string, got []skald.ID, want ...skald.ID) {
	q.t.Helper()
	if !slices.Equal(got, want) {
		q.t.Errorf("%s: due are %v, not %v", what, got, want)
	}
}

func newQueue(t *testing.T) queue {
	t.Helper()
	return queue{t, fresh(t), time.Now().Truncate(time.Microsecond).UTC()}
}

func TestHeldMessagesQueueByKey(t *testing.T) {
	q := newQueue(t)
	a := q.hold("a", inbox.HeldRetrying, inbox.HeldFollowing, inbox.HeldFollowing)
	b := q.hold("b", inbox.HeldParked, inbox.HeldFollowing)
	q.expect("behind a retrying and behind a parked one", q.due(10), a[0].ID, a[1].ID, a[2].ID)
	q.expect("two of them", q.due(2), a[0].ID, a[1].ID)
	q.unhold(a[0].ID)
	q.expect("when the first is gone", q.due(10), a[1].ID, a[2].ID)
	q.unhold(b[0].ID)
	q.expect("when the parked one is discarded, both keys get their share", q.due(2), a[1].ID, b[1].ID)
	q.unhold(a[1].ID, a[2].ID, b[1].ID, skald.NewID())
	q.expect("when all are gone", q.due(10))
}

func TestAMessageHeldAgainKeepsItsPlace(t *testing.T) {
	q := newQueue(t)
	list := q.hold("a", inbox.HeldRetrying, inbox.HeldFollowing)
	ctx := t.Context()
	later := q.now.Add(time.Minute)
	inBatch(t, q.store, func(tx skald.Tx) {
		must(t, q.store.Hold(ctx, tx, "kitchen", []inbox.Held{{
			Message: list[0], State: inbox.HeldRetrying, Attempts: 4, NextAttempt: later, Reason: "again", HeldAt: later,
		}}))
	})
	all, err := q.store.ListHeld(ctx, "", 0, 10)
	must(t, err)
	first := all[0]
	if first.Message.ID != list[0].ID || first.Attempts != 4 || !first.NextAttempt.Equal(later) || first.Reason != "again" || !first.HeldAt.Equal(q.now) || first.Group != "kitchen" {
		t.Errorf("held again it is %+v", first)
	}
	if !reflect.DeepEqual(first.Message, list[0]) {
		t.Error("the message came back changed")
	}
	if next, ok, err := q.store.NextHeld(ctx, "kitchen"); err != nil || !ok || !next.Equal(later) {
		t.Errorf("the next is due at %v, %t, %v", next, ok, err)
	}
	rest, err := q.store.ListHeld(ctx, "kitchen", first.Place, 10)
	if must(t, err); len(rest) != 1 || rest[0].Message.ID != list[1].ID {
		t.Errorf("behind the first there are %d", len(rest))
	}
}

func TestHeldAmongFindsKeysAndMessages(t *testing.T) {
	q := newQueue(t)
	list := q.hold("a", inbox.HeldParked, inbox.HeldFollowing)
	keyless := q.hold("", inbox.HeldRetrying)[0]
	ask := []inbox.ChannelKey{{Channel: "orders", Key: "a"}, {Channel: "orders", Key: "b"}, {Channel: "other", Key: "a"}, {Channel: "orders", Key: keyless.ID.String()}}
	inBatch(t, q.store, func(tx skald.Tx) {
		keys, ids, err := q.store.HeldAmong(t.Context(), tx, "kitchen", ask, []skald.ID{list[1].ID, skald.NewID()})
		must(t, err)
		if !slices.Equal(keys, []inbox.ChannelKey{ask[0], ask[3]}) || !slices.Equal(ids, []skald.ID{list[1].ID}) {
			t.Errorf("blocked are %v, held %v", keys, ids)
		}
		keys, ids, err = q.store.HeldAmong(t.Context(), tx, "billing", ask, []skald.ID{list[1].ID})
		if must(t, err); len(keys)+len(ids) != 0 {
			t.Errorf("for another group blocked are %v, held %v", keys, ids)
		}
	})
}

func TestAnUndecodableMessageKeepsItsBytesAndBlocksNothing(t *testing.T) {
	q := newQueue(t)
	ctx := t.Context()
	raw := inbox.Held{Message: skald.Message{ID: skald.NewID(), Channel: "orders"}, Raw: []byte{0xff, 0}, State: inbox.HeldParked, HeldAt: q.now}
	inBatch(t, q.store, func(tx skald.Tx) {
		must(t, q.store.Hold(ctx, tx, "kitchen", []inbox.Held{raw}))
		keys, _, err := q.store.HeldAmong(ctx, tx, "kitchen", []inbox.ChannelKey{{Channel: "orders", Key: "a"}, {Channel: "orders"}}, nil)
		if must(t, err); len(keys) != 0 {
			t.Errorf("it blocks %v", keys)
		}
	})
	n, err := q.store.Redrive(ctx, "kitchen", []skald.ID{raw.Message.ID})
	if must(t, err); n != 1 {
		t.Errorf("%d were redriven", n)
	}
	due, err := q.store.DueHeld(ctx, "kitchen", q.now, 10)
	if must(t, err); len(due) != 1 || !slices.Equal(due[0].Raw, raw.Raw) || due[0].Message.ID != raw.Message.ID {
		t.Errorf("due are %+v", due)
	}
}

func TestRedriveResetsAttemptsAndLeavesFollowersInTheirPlace(t *testing.T) {
	q := newQueue(t)
	list := q.hold("a", inbox.HeldParked, inbox.HeldFollowing)
	n, err := q.store.Redrive(t.Context(), "kitchen", []skald.ID{list[0].ID, list[1].ID, skald.NewID()})
	if must(t, err); n != 1 {
		t.Errorf("%d were redriven, not 1", n)
	}
	due, err := q.store.DueHeld(t.Context(), "kitchen", q.now, 10)
	if must(t, err); len(due) != 2 || due[0].Attempts != 0 || due[1].State != inbox.HeldFollowing {
		t.Errorf("due are %+v", due)
	}
}

func TestAnUndoReleasesItsHeldDo(t *testing.T) {
	q := newQueue(t)
	ctx := t.Context()
	key := inbox.BarrierKey{Saga: skald.NewID(), Step: "create ticket", Attempt: 2}
	do := messages(1, "a")[0]
	do.Headers = skald.Headers{
		{Name: skald.HeaderAction, Value: skald.ActionDo},
		{Name: skald.HeaderSaga, Value: key.Saga.String()},
		{Name: skald.HeaderStep, Value: key.Step},
		{Name: skald.HeaderAttempt, Value: "2"},
	}
	inBatch(t, q.store, func(tx skald.Tx) {
		must(t, q.store.Hold(ctx, tx, "kitchen", []inbox.Held{{Message: do, State: inbox.HeldParked, Attempts: 5, HeldAt: q.now}}))
	})
	other := key
	other.Attempt = 1
	inBatch(t, q.store, func(tx skald.Tx) {
		found, err := q.store.ReleaseHeldDos(ctx, tx, "kitchen", []inbox.BarrierKey{other, key})
		if must(t, err); !slices.Equal(found, []inbox.BarrierKey{key}) {
			t.Errorf("released are %v", found)
		}
	})
	q.expect("the do", q.due(10), do.ID)
}

// Faults: 13.
func TestPartitionsAreFenced(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	partitions := []inbox.Partition{{Channel: "orders", Group: "kitchen"}, {Channel: "orders", Group: "kitchen", Number: 1}}
	first, err := store.ClaimPartitions(ctx, "first", partitions, -time.Second) // expired at once
	if must(t, err); len(first) != 2 {
		t.Fatalf("%d of 2 free partitions were given", len(first))
	}
	first[0].Position = inbox.Position{Incarnation: "i", Sequence: math.MaxUint64, Last: skald.NewID()}
	inBatch(t, store, func(tx skald.Tx) { must(t, store.SavePositions(ctx, tx, first)) })
	second, err := store.ClaimPartitions(ctx, "second", partitions[:1], time.Minute)
	if must(t, err); len(second) != 1 || second[0].Epoch <= first[0].Epoch || second[0].Position != first[0].Position {
		t.Fatalf("an expired partition passed on as %+v", second)
	}
	if got, err := store.ClaimPartitions(ctx, "third", partitions[:1], time.Minute); err != nil || len(got) != 0 {
		t.Errorf("a partition that another holds was given: %+v, %v", got, err)
	}
	kept, err := store.RenewPartitions(ctx, "first", first, time.Minute)
	if must(t, err); !reflect.DeepEqual(kept, first[1:]) {
		t.Errorf("kept are %+v", kept)
	}
	b := begin(t, store)
	if err := store.SavePositions(ctx, b.Tx(), first); !errors.Is(err, inbox.ErrFenced) {
		t.Errorf("SavePositions with a lost lease returned %v", err)
	}
	must(t, b.Rollback())
	must(t, store.ReleasePartitions(ctx, "first", first)) // gives up only the one that is his
	if got, err := store.ClaimPartitions(ctx, "third", partitions, time.Minute); err != nil || len(got) != 1 || got[0].Number != 1 {
		t.Errorf("after the release free was %+v, %v", got, err)
	}
}
