package sqlite_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/store/sqlite"
)

func save(t *testing.T, store *sqlite.Store, list ...saga.Record) error {
	t.Helper()
	b := begin(t, store)
	if err := store.SaveSagas(t.Context(), b.Tx(), list); err != nil {
		must(t, b.Rollback())
		return err
	}
	must(t, b.Commit(t.Context()))
	return nil
}

func someSaga(key string) saga.Record {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return saga.Record{
		ID: skald.NewID(), Name: "order.create", Version: 2, Key: key, Status: saga.Running, Step: "create ticket", Reason: "why",
		State: []byte("state"), Progress: []byte("progress"), Trace: skald.Trace{Parent: "p", State: "s"},
		DueAt: now.Add(time.Minute), StartedAt: now, UpdatedAt: now, Revision: 1,
	}
}

func TestSagasComeBackAsTheyWere(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	r := someSaga("42")
	must(t, save(t, store, r))
	r.Revision, r.Status, r.DueAt, r.Step = 2, saga.Parked, time.Time{}, "authorize card"
	must(t, save(t, store, r))
	got, err := store.ReadSaga(ctx, r.Name, r.Key)
	if must(t, err); !reflect.DeepEqual(*got, r) {
		t.Errorf("the saga came back as %+v, not %+v", *got, r)
	}
	if _, ok, err := store.NextDue(ctx, []saga.Version{{Name: r.Name, Number: r.Version}}); ok || err != nil {
		t.Errorf("a timer is set: %t, %v", ok, err)
	}
	for status, want := range map[saga.Status]int{"": 1, saga.Parked: 1, saga.Running: 0, saga.Completed: 0} {
		if list, err := store.ListSagas(ctx, status, skald.ID{}, 10); err != nil || len(list) != want {
			t.Errorf("%d sagas of status %q listed, not %d (%v)", len(list), status, want, err)
		}
	}
}

func TestALiveSagasKeyAndARequestAreUnique(t *testing.T) {
	store := fresh(t)
	first, second := someSaga("42"), someSaga("42")
	first.Request, second.Request = "r1", "r2"
	must(t, save(t, store, first))
	if err := save(t, store, second); !errors.Is(err, saga.ErrConflict) {
		t.Errorf("a second live saga of the key: %v", err)
	}
	if err := save(t, store, first); !errors.Is(err, saga.ErrConflict) {
		t.Errorf("the same saga inserted again: %v", err)
	}
	first.Revision, first.Status = 2, saga.Completed
	must(t, save(t, store, second, first)) // one ends and the next begins in the same batch
	third := someSaga("43")
	third.Request = "r1"
	if err := save(t, store, third); !errors.Is(err, saga.ErrConflict) {
		t.Errorf("a request that an ended saga has had: %v", err)
	}
	inBatch(t, store, func(tx skald.Tx) {
		live, err := store.FindLive(t.Context(), tx, first.Name, "42")
		if must(t, err); live == nil || live.ID != second.ID {
			t.Errorf("the live saga is %+v", live)
		}
		old, err := store.FindRequest(t.Context(), tx, first.Name, "r1")
		if must(t, err); old == nil || old.ID != first.ID {
			t.Errorf("the request's saga is %+v", old)
		}
		if none, err := store.FindRequest(t.Context(), tx, first.Name, ""); none != nil || err != nil {
			t.Errorf("no request at all has the saga %+v, %v", none, err)
		}
	})
}

func TestAnOlderRevisionDoesNotOverwrite(t *testing.T) {
	store := fresh(t)
	r := someSaga("42")
	must(t, save(t, store, r))
	r.Revision = 2
	must(t, save(t, store, r))
	r.Step = "older"
	if err := save(t, store, r); err == nil {
		t.Error("an older revision was saved")
	}
}

func TestAUsersTransactionLocksTheSagasThatItLoads(t *testing.T) {
	store := fresh(t)
	r := someSaga("42")
	must(t, save(t, store, r))
	tx, err := store.DB().BeginTx(t.Context(), nil)
	must(t, err)
	loaded, err := store.LoadSagas(t.Context(), tx, []skald.ID{r.ID, skald.NewID()})
	if must(t, err); len(loaded) != 1 {
		t.Errorf("%d sagas loaded", len(loaded))
	}
	must(t, tx.Rollback())
}

func TestDefinitionsKeepTheirFirstFingerprint(t *testing.T) {
	store := fresh(t)
	for _, fingerprint := range []string{"first", "second"} {
		if got, err := store.RegisterDefinition(t.Context(), "order.create", 1, fingerprint); err != nil || got != "first" {
			t.Errorf("registered as %q: stored is %q, %v", fingerprint, got, err)
		}
	}
}

func TestHistoryIsInOrderAndWithoutDoubles(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	id := skald.NewID()
	var want []saga.Entry
	for i := range 20 {
		want = append(want, saga.Entry{Saga: id, Number: i + 1, At: time.UnixMicro(int64(i + 1)).UTC(), Step: "s", What: saga.HistorySent, Detail: "d"})
	}
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddHistory(ctx, tx, want)) })
	got, err := store.ReadHistory(ctx, id)
	if must(t, err); !reflect.DeepEqual(got, want) {
		t.Errorf("the history is %v", got)
	}
	b := begin(t, store)
	if err := store.AddHistory(ctx, b.Tx(), want[:1]); err == nil {
		t.Error("an entry was added twice")
	}
}

func TestUnpublishedMessagesQueueByKey(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	now := time.Now()
	lease, _, err := store.AcquireLease(ctx, "me", time.Minute)
	must(t, err)
	held := make([]relay.Unpublished, 3)
	for i, m := range messages(3, "a") {
		held[i] = relay.Unpublished{Record: relay.Record{Position: relay.Position{Commit: uint64(10 - i)}, Message: m, AddedAt: now}, Reason: "too large"}
	}
	held[2].Message.Key = "b"
	held[0].NextAttempt, held[1].NextAttempt, held[2].NextAttempt = now, now, now.Add(time.Hour)
	must(t, store.HoldUnpublished(ctx, lease, held))
	due, err := store.DueUnpublished(ctx, now, 10)
	if must(t, err); len(due) != 2 || due[0].Message.ID != held[1].Message.ID || due[1].Message.ID != held[0].Message.ID {
		t.Errorf("due are %+v", due)
	}
	held[1].NextAttempt, held[1].Attempts = now.Add(time.Hour), 1
	must(t, store.HoldUnpublished(ctx, lease, held[1:2]))
	if due, err := store.DueUnpublished(ctx, now, 10); err != nil || len(due) != 0 {
		t.Errorf("due are %+v, %v", due, err)
	}
	must(t, store.RemoveUnpublished(ctx, lease, []skald.ID{held[1].Message.ID}))
	if due, err := store.DueUnpublished(ctx, now, 1); err != nil || len(due) != 1 || due[0].Message.ID != held[0].Message.ID {
		t.Errorf("due are %+v, %v", due, err)
	}
	all, err := store.ListUnpublished(ctx, 10)
	if must(t, err); len(all) != 2 || all[0].Message.ID != held[2].Message.ID {
		t.Errorf("listed are %+v", all)
	}
	if keys, err := store.UnpublishedKeys(ctx); err != nil || len(keys) != 2 {
		t.Errorf("keys are %v, %v", keys, err)
	}
}
