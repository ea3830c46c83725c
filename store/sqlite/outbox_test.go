package sqlite_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/sqlite"
)

func cursorOf(t testing.TB, store *sqlite.Store, after relay.Position) relay.Cursor {
	t.Helper()
	cursor, err := store.OpenOutbox(t.Context(), after)
	must(t, err)
	t.Cleanup(func() { must(t, cursor.Close()) })
	return cursor
}

// nextAsync calls Next in the background.
func nextAsync(t testing.TB, cursor relay.Cursor) <-chan []relay.Record {
	t.Helper()
	ctx := soon(t)
	found := make(chan []relay.Record, 1)
	go func() {
		records, err := cursor.Next(ctx, 100)
		if err != nil {
			t.Error(err)
		}
		found <- records
	}()
	return found
}

func messagesOf(records []relay.Record) []skald.Message {
	var list []skald.Message
	for _, r := range records {
		list = append(list, r.Message)
	}
	return list
}

func TestMessagesComeBackAsTheyWereInCommitOrder(t *testing.T) {
	store := fresh(t)
	want := messages(100, "key")
	want[1].Headers, want[2].ContentType, want[3].Key, want[4].Payload = nil, "text/plain", "", nil
	want[5].ID = want[6].ID // a recorded reply may be sent again
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddMessages(t.Context(), tx, want[:70])) })
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddMessages(t.Context(), tx, want[70:])) })
	cursor := cursorOf(t, store, relay.Position{})
	var got []relay.Record
	for len(got) < len(want) {
		records, err := cursor.Next(soon(t), 30)
		must(t, err)
		got = append(got, records...)
	}
	if !reflect.DeepEqual(messagesOf(got), want) {
		t.Error("the messages came back changed")
	}
	if !slices.IsSortedFunc(got, func(a, b relay.Record) int {
		if a.Position.Before(b.Position) {
			return -1
		}
		return 1
	}) {
		t.Error("positions do not rise")
	}
	rest, err := cursorOf(t, store, got[89].Position).Next(soon(t), 100)
	must(t, err)
	if !reflect.DeepEqual(messagesOf(rest), want[90:]) {
		t.Error("a cursor opened behind a position reads something else")
	}
}

func TestABatchsCommitWakesTheCursor(t *testing.T) {
	store := fresh(t)
	found := nextAsync(t, cursorOf(t, store, relay.Position{}))
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddMessages(t.Context(), tx, messages(1, ""))) })
	if records := <-found; len(records) != 1 {
		t.Errorf("Next returned %d records", len(records))
	}
}

func TestARowAppearsAfterTheUsersCommitAndNeverBefore(t *testing.T) {
	store := fresh(t)
	found := nextAsync(t, cursorOf(t, store, relay.Position{}))
	tx, err := store.DB().BeginTx(t.Context(), nil)
	must(t, err)
	must(t, store.AddMessages(t.Context(), tx, messages(1, "")))
	store.Arm()
	select {
	case records := <-found:
		t.Fatalf("Next returned %d records of an open transaction", len(records))
	default:
	}
	must(t, tx.Commit())
	if records := <-found; len(records) != 1 {
		t.Errorf("Next returned %d records", len(records))
	}
}

func TestAnotherProcesssRowsAreFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	found := nextAsync(t, cursorOf(t, open(t, path), relay.Position{}))
	other := open(t, path)
	inBatch(t, other, func(tx skald.Tx) { must(t, other.AddMessages(t.Context(), tx, messages(3, ""))) })
	if records := <-found; len(records) != 3 {
		t.Errorf("Next returned %d records", len(records))
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	cursor := cursorOf(t, fresh(t), relay.Position{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := cursor.Next(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next returned %v", err)
	}
}

func TestCleanOutboxKeepsWhatIsNotSettledOrNotOld(t *testing.T) {
	store := fresh(t)
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddMessages(t.Context(), tx, messages(10, ""))) })
	clean := func(before time.Time, limit int) int {
		t.Helper()
		n, err := store.CleanOutbox(t.Context(), before, limit)
		must(t, err)
		return n
	}
	future := time.Now().Add(time.Hour)
	if n := clean(future, 100); n != 0 {
		t.Errorf("%d rows cleaned without a checkpoint", n)
	}
	lease, _, err := store.AcquireLease(t.Context(), "me", time.Minute)
	must(t, err)
	must(t, store.SaveCheckpoint(t.Context(), lease, relay.Checkpoint{Position: relay.Position{Commit: 7}}))
	if n := clean(time.Now().Add(-time.Hour), 100); n != 0 {
		t.Errorf("%d rows cleaned that are not old enough", n)
	}
	if a, b, c := clean(future, 5), clean(future, 5), clean(future, 5); a != 5 || b != 2 || c != 0 {
		t.Errorf("cleaned %d, %d, %d rows, not 5, 2, 0", a, b, c)
	}
	lag, err := store.OutboxLag(t.Context())
	must(t, err)
	if lag.Messages != 3 {
		t.Errorf("the lag is %d messages, not 3", lag.Messages)
	}
	must(t, store.SaveCheckpoint(t.Context(), lease, relay.Checkpoint{Position: relay.Position{Commit: 10}}))
	clean(future, 100)
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddMessages(t.Context(), tx, messages(1, ""))) })
	records, err := cursorOf(t, store, relay.Position{}).Next(soon(t), 10)
	must(t, err)
	if got := records[0].Position.Commit; got != 11 {
		t.Errorf("position %d after everything was cleaned: a position is used twice", got)
	}
}

// Faults: 84.
func TestAHeaderWithALineBreakIsRefused(t *testing.T) {
	store := fresh(t)
	b := begin(t, store)
	bad := messages(1, "")
	bad[0].Headers = skald.Headers{{Name: "a", Value: "1\nb: 2"}}
	if err := store.AddMessages(t.Context(), b.Tx(), bad); !errors.Is(err, skald.ErrInvalidMessage) {
		t.Errorf("AddMessages returned %v", err)
	}
}

// Faults: 13.
func TestTheRelaysLeaseIsFenced(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	first, ok, err := store.AcquireLease(ctx, "first", -time.Second) // expired at once
	if must(t, err); !ok {
		t.Fatal("a free lease was not given")
	}
	second, ok, err := store.AcquireLease(ctx, "second", time.Minute)
	if must(t, err); !ok || second.Epoch <= first.Epoch {
		t.Fatalf("an expired lease of epoch %d passed on as %+v, %t", first.Epoch, second, ok)
	}
	if _, ok, err := store.AcquireLease(ctx, "first", time.Minute); ok || err != nil {
		t.Errorf("a lease that another holds was given: %t, %v", ok, err)
	}
	if again, ok, err := store.AcquireLease(ctx, "second", time.Minute); !ok || again != second || err != nil {
		t.Errorf("the holder's own lease came back as %+v, %t, %v", again, ok, err)
	}
	held := []relay.Unpublished{{Record: relay.Record{Message: messages(1, "")[0]}}}
	for name, err := range map[string]error{
		"RenewLease":        store.RenewLease(ctx, first, time.Minute),
		"SaveCheckpoint":    store.SaveCheckpoint(ctx, first, relay.Checkpoint{Mark: "fenced"}),
		"HoldUnpublished":   store.HoldUnpublished(ctx, first, held),
		"RemoveUnpublished": store.RemoveUnpublished(ctx, first, []skald.ID{skald.NewID()}),
	} {
		if !errors.Is(err, relay.ErrFenced) {
			t.Errorf("%s with a lost lease returned %v", name, err)
		}
	}
	must(t, store.ReleaseLease(ctx, first)) // not his any more
	must(t, store.SaveCheckpoint(ctx, second, relay.Checkpoint{Position: relay.Position{Commit: 3, Index: 4}, Mark: "m"}))
	if c, err := store.Checkpoint(ctx); err != nil || c.Mark != "m" || c.Position != (relay.Position{Commit: 3, Index: 4}) {
		t.Errorf("the checkpoint is %+v, %v", c, err)
	}
}
