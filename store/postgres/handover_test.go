package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

// writers add messages of a few keys as fast as they can, and note in which order those of a key
// committed.
type writers struct {
	mu     sync.Mutex
	drawn  int
	turn   map[skald.ID]int // of messages whose transaction was the only one with their key
	ended  sync.WaitGroup
	cancel context.CancelFunc
}

func write(t *testing.T, store *postgres.Store, n int) *writers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{turn: map[skald.ID]int{}, cancel: cancel}
	for i := range n {
		w.ended.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				if err := w.commit(context.WithoutCancel(ctx), store, messages(1+round%3, fmt.Sprint("k", (i+round)%3))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(w.stop)
	return w
}

func (w *writers) stop() {
	w.cancel()
	w.ended.Wait()
}

// commit adds messages of one key, which is locked when their turn is drawn.
func (w *writers) commit(ctx context.Context, store *postgres.Store, list []skald.Message) error {
	tx, err := store.Pool().Begin(ctx)
	if err != nil {
		return err
	}
	if err := store.AddMessages(ctx, postgres.Wrap(tx), list); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	w.draw(list)
	err = tx.Commit(ctx)
	store.Arm()
	return err
}

func (w *writers) draw(list []skald.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range list {
		w.drawn++
		w.turn[list[i].ID] = w.drawn
	}
}

// check compares what was read first of each message with what was committed.
func (w *writers) check(t *testing.T, seen []relay.Record) {
	t.Helper()
	first, last := map[skald.ID]bool{}, map[string]int{}
	for _, r := range seen {
		id, key := r.Message.ID, r.Message.Key
		if first[id] || key == "marker" {
			continue
		}
		first[id] = true
		if w.turn[id] < last[key] {
			t.Fatalf("key %s: what was committed as number %d came behind number %d", key, w.turn[id], last[key])
		}
		last[key] = w.turn[id]
	}
	if len(first) != len(w.turn) {
		t.Errorf("%d messages were committed, and %d came out", len(w.turn), len(first))
	}
}

// The way of reading changes every few hundred messages, and a transaction is under way whenever it
// does: the slot is lost, the relay polls for a while by its configuration, and tails again.
//
// Faults: 37, 42.
func TestBetweenTableAndLogNothingIsLostOrOutOfOrder(t *testing.T) {
	t.Parallel()
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	w := write(t, store, 4)
	var seen []relay.Record
	for round, how := range []postgres.Relay{postgres.Tail, postgres.Tail, postgres.Poll, postgres.Tail, postgres.Tail, postgres.Poll, postgres.Tail} {
		slow := messages(2, fmt.Sprint("slow", round))
		tx := adding(t, store, slow...)
		w.draw(slow)
		r := reads(t, open(t, connect(t, url), postgres.Config{Relay: how}))
		seen = append(seen, r.take(200)...)
		must(t, tx.Commit(t.Context()))
		enough := r.take(200)
		for ctx := soon(t); how != postgres.Poll && !tailed(enough[len(enough)-1]); {
			records, err := r.cursor.Next(ctx, 100)
			must(t, err)
			enough = append(enough, records...)
		}
		r.settle(enough[len(enough)/2]) // the rest comes again
		if seen = append(seen, enough...); round%3 == 0 {
			dropSlot(t, store)
		}
		r.close()
	}
	w.stop()
	r := reads(t, open(t, connect(t, url), postgres.Config{}))
	marker := messages(1, "marker")[0]
	add(t, store, marker)
	for !slices.Contains(idsOf(seen), marker.ID) {
		seen = append(seen, r.take(1)...)
	}
	w.check(t, seen)
	t.Logf("%d messages, %d readings", len(w.turn), len(seen))
}

func TestARelayThatNeverFindsTheTableEmptyTailsAllTheSame(t *testing.T) {
	t.Parallel()
	store := open(t, connect(t, database(t)), postgres.Config{})
	r := reads(t, store)
	eventually(t, "a record of the log", func() bool {
		list := messages(1, "k")
		add(t, store, list...)
		return tailed(r.take(1)[0])
	})
}

// It would hold back the log for ever, and bring what was polled once more if the relay tailed again.
func TestARelayThatIsToPollLeavesNoSlotBehind(t *testing.T) {
	t.Parallel()
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	r, list := reads(t, store), messages(4, "k")
	r.tail()
	add(t, store, list...)
	r.settle(r.takes(list[:2]...))
	r.close()
	said := listen(t)
	store = open(t, connect(t, url), postgres.Config{Relay: postgres.Poll, Logger: said.logger()})
	r = reads(t, store)
	if slot := slotOf(t, store); slot.Name != "" {
		t.Errorf("the slot is %v", slot)
	}
	said.says(t, logWarn, "dropping it")
	unsettled := map[skald.ID]bool{}
	for !unsettled[list[2].ID] || !unsettled[list[3].ID] {
		unsettled[r.take(1)[0].Message.ID] = true
	}
}
