package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	osexec "os/exec" // exec runs a statement here
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/sqlite"
)

// Faults: 43.
func TestCleaningSparesWhatADayOldTransactionAdded(t *testing.T) {
	store := fresh(t)
	ctx := t.Context()
	lease, _, err := store.AcquireLease(ctx, "me", time.Minute)
	must(t, err)
	inBatch(t, store, func(tx skald.Tx) { must(t, store.AddMessages(ctx, tx, messages(2, "a"))) })
	must(t, store.SaveCheckpoint(ctx, lease, relay.Checkpoint{Position: relay.Position{Commit: 2}}))
	late := messages(3, "a")
	inBatch(t, store, func(tx skald.Tx) {
		must(t, store.AddMessages(ctx, tx, late))
		_, err := tx.ExecContext(ctx, "UPDATE skald_outbox SET added_at = ?", time.Now().Add(-24*time.Hour).UnixMicro())
		must(t, err) // and commits today
	})
	cleaned, err := store.CleanOutbox(ctx, time.Now().Add(-time.Hour), 100)
	if must(t, err); cleaned != 2 {
		t.Errorf("%d messages were cleaned, and 2 were published", cleaned)
	}
	records, err := cursorOf(t, store, relay.Position{Commit: 2}).Next(soon(t), 10)
	if must(t, err); len(records) != 3 || records[0].Message.ID != late[0].ID {
		t.Errorf("%d of the 3 messages that were added late are left", len(records))
	}
}

// Faults: 49.
func TestTwoWritersAndCheckpointsLeaveASoundFile(t *testing.T) {
	const batches, perBatch = 60, 20
	path := filepath.Join(t.TempDir(), "service.db")
	first, second := open(t, path), open(t, path)
	cursor := cursorOf(t, first, relay.Position{})
	ctx, done := context.WithCancel(t.Context())
	var writers, checkpoints sync.WaitGroup
	for _, store := range []*sqlite.Store{first, second} {
		writers.Go(func() {
			for range batches {
				b, err := store.Begin(t.Context())
				if err == nil {
					err = errors.Join(store.AddMessages(t.Context(), b.Tx(), messages(perBatch, "a")), b.Commit(t.Context()))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	passes := 0
	checkpoints.Go(func() {
		db := openRaw(t, path)
		for ctx.Err() == nil {
			// Busy is an answer too: the checkpoint then does what it can.
			if _, err := db.ExecContext(context.WithoutCancel(ctx), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil && !strings.Contains(err.Error(), "lock") {
				t.Error(err)
			}
			passes++
		}
	})
	seen := map[skald.ID]bool{}
	for len(seen) < 2*batches*perBatch {
		records, err := cursor.Next(soon(t), 100)
		must(t, err)
		for _, r := range records {
			if seen[r.Message.ID] {
				t.Fatal("a message was read twice")
			}
			seen[r.Message.ID] = true
		}
	}
	writers.Wait()
	done()
	checkpoints.Wait()
	var verdict string
	must(t, first.DB().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" || passes == 0 {
		t.Errorf("after %d checkpoints the file is: %s", passes, verdict)
	}
}

// Faults: 50.
func TestAFullDiskFailsTheBatchAndLeavesWhatWasCommitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.db")
	must(t, open(t, path).Close())
	pages := number(t, openRaw(t, path), "PRAGMA page_count")
	small := openDSN(t, fmt.Sprintf("file:%s?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=max_page_count(%d)", path, pages+20))
	store, err := sqlite.New(t.Context(), small, sqlite.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })

	var committed []skald.ID
	full := false
	for range 100 {
		list := messages(8, "a")
		b, err := store.Begin(t.Context())
		must(t, err)
		if err = store.AddMessages(t.Context(), b.Tx(), list); err == nil {
			err = b.Commit(t.Context())
		}
		must(t, b.Rollback())
		if full = err != nil; full {
			if store.Retryable(err) || !strings.Contains(err.Error(), "full") {
				t.Errorf("a full disk: %v", err)
			}
			break
		}
		for _, m := range list {
			committed = append(committed, m.ID)
		}
	}
	if !full || len(committed) == 0 {
		t.Fatalf("the disk never became full, or was so at once: %d messages", len(committed))
	}
	larger := open(t, path) // the disk has room again
	inBatch(t, larger, func(tx skald.Tx) {
		last := messages(1, "a")
		committed = append(committed, last[0].ID)
		must(t, larger.AddMessages(t.Context(), tx, last))
	})
	var got []skald.ID
	for cursor := cursorOf(t, larger, relay.Position{}); len(got) < len(committed); {
		records, err := cursor.Next(soon(t), 1000)
		must(t, err)
		for _, r := range records {
			got = append(got, r.Message.ID)
		}
	}
	if !slices.Equal(got, committed) {
		t.Errorf("%d messages are in the outbox, and %d were committed", len(got), len(committed))
	}
}

// Faults: 51.
func TestATakenPoolMakesTheStoreWaitAndNotFail(t *testing.T) {
	db := openRaw(t, filepath.Join(t.TempDir(), "service.db"))
	db.SetMaxOpenConns(4)
	store, err := sqlite.New(t.Context(), db, sqlite.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	var taken []*sql.Conn
	for range 4 {
		conn, err := db.Conn(t.Context())
		must(t, err)
		taken = append(taken, conn)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := store.Begin(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Begin without a free connection returned %v", err)
	}
	waiting := make(chan error, 2)
	go func() {
		b, err := store.Begin(soon(t))
		if err == nil {
			err = errors.Join(store.AddMessages(t.Context(), b.Tx(), messages(1, "a")), b.Commit(t.Context()))
		}
		waiting <- err
	}()
	go func() {
		_, err := store.Checkpoint(soon(t))
		waiting <- err
	}()
	for _, conn := range taken {
		must(t, conn.Close())
	}
	must(t, errors.Join(<-waiting, <-waiting))
	if n := number(t, db, "SELECT count(*) FROM skald_outbox"); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// cleanedFolder tells a copy of this test binary to clean the store of a folder until it is
// killed.
const cleanedFolder = "SKALD_TEST_CLEANED_FOLDER"

func TestCleaningProcess(t *testing.T) {
	folder := os.Getenv(cleanedFolder)
	if folder == "" {
		return // this is the test run itself
	}
	store := open(t, filepath.Join(folder, "service.db"))
	for cleaned := 0; ; cleaned += 2 {
		if _, err := store.CleanOutbox(t.Context(), time.Now().Add(time.Hour), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := store.CleanInbox(t.Context(), time.Now().Add(-time.Hour), 1); err != nil {
			t.Fatal(err)
		}
		if cleaned == 40 {
			_, _ = os.Stdout.WriteString("cleaning\n")
		}
	}
}

// Faults: 14.
func TestKilledWhileCleaningLosesNothingThatIsNeeded(t *testing.T) {
	const rows = 400
	folder := t.TempDir()
	path := filepath.Join(folder, "service.db")
	store := open(t, path)
	ctx := t.Context()
	lease, _, err := store.AcquireLease(ctx, "me", time.Minute)
	must(t, err)
	old, recent := make([]inbox.Handled, rows), make([]inbox.Handled, rows)
	var recentIDs []skald.ID
	for i := range rows {
		old[i].ID, recent[i].ID = skald.NewID(), skald.NewID()
		recentIDs = append(recentIDs, recent[i].ID)
	}
	inBatch(t, store, func(tx skald.Tx) {
		must(t, store.AddMessages(ctx, tx, messages(2*rows, "a")))
		must(t, store.RecordHandled(ctx, tx, "kitchen", time.Now().Add(-24*time.Hour), old))
		must(t, store.RecordHandled(ctx, tx, "kitchen", time.Now(), recent))
	})
	must(t, store.SaveCheckpoint(ctx, lease, relay.Checkpoint{Position: relay.Position{Commit: rows}}))

	cleaner := osexec.CommandContext(ctx, os.Args[0], "-test.run=^TestCleaningProcess$", "-test.timeout=5m")
	cleaner.Env = append(os.Environ(), cleanedFolder+"="+folder)
	out, err := cleaner.StdoutPipe()
	must(t, err)
	must(t, cleaner.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "cleaning\n" {
		t.Errorf("the other process says %q, %v", line, err)
	}
	must(t, cleaner.Process.Kill())
	_ = cleaner.Wait() // says that it was killed

	if n := number(t, store.DB(), "SELECT count(*) FROM skald_outbox WHERE seq > ?", rows); n != rows {
		t.Errorf("%d of %d messages are left that were not published", n, rows)
	}
	inBatch(t, store, func(tx skald.Tx) {
		known, err := store.Handled(ctx, tx, "kitchen", recentIDs)
		if must(t, err); len(known) != rows {
			t.Errorf("%d of %d messages are still known as handled", len(known), rows)
		}
	})
	_, err = store.CleanOutbox(ctx, time.Now().Add(time.Hour), 10*rows) // another process goes on
	must(t, err)
	_, err = store.CleanInbox(ctx, time.Now().Add(-time.Hour), 10*rows)
	must(t, err)
	if n := number(t, store.DB(), "SELECT (SELECT count(*) FROM skald_outbox) + (SELECT count(*) FROM skald_inbox)"); n != 2*rows {
		t.Errorf("%d rows are left in the end, want %d", n, 2*rows)
	}
}
