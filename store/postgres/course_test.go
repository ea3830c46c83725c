package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

// course is a random sequence of everything that may happen to an outbox and to whoever reads it.
type course struct {
	*testing.T
	random    *rand.Rand
	store     *postgres.Store
	r         *reader
	read      []relay.Record // by the present cursor, and not settled
	open      []slowTx
	committed []skald.Message
	delivered []skald.Message // settled, as far as the broker is concerned
	steps     []string
}

type slowTx struct {
	tx   pgx.Tx
	list []skald.Message
}

// log notes what is done, for the message of a test that fails.
func (c *course) log(step string, args ...any) { c.steps = append(c.steps, fmt.Sprintf(step, args...)) }

// add and begin use keys of their own: a transaction that is under way holds its key.
func (c *course) add() {
	list := messages(1+c.random.IntN(4), fmt.Sprint("k", c.random.IntN(3)))
	add(c.T, c.store, list...)
	c.committed = append(c.committed, list...)
	c.log("add %d", len(list))
}

func (c *course) begin() {
	if len(c.open) < 3 {
		list := messages(1+c.random.IntN(3), skald.NewID().String())
		c.open = append(c.open, slowTx{adding(c.T, c.store, list...), list})
		c.log("begin")
	}
}

func (c *course) end() {
	if len(c.open) == 0 {
		return
	}
	i := c.random.IntN(len(c.open))
	slow := c.open[i]
	c.open = slices.Delete(c.open, i, i+1)
	if c.random.IntN(4) == 0 {
		must(c.T, slow.tx.Rollback(c.Context()))
		c.log("roll back")
		return
	}
	must(c.T, slow.tx.Commit(c.Context()))
	c.committed = append(c.committed, slow.list...)
	c.log("commit")
}

// take reads on, at most up to a message of its own, so that it never waits in vain.
func (c *course) take(all bool) {
	marker := messages(1, "mark")[0]
	add(c.T, c.store, marker)
	c.committed = append(c.committed, marker)
	for ctx, n := soon(c.T), c.random.IntN(6); all || n > 0; n-- {
		records, err := c.r.cursor.Next(ctx, 1+c.random.IntN(20))
		if err != nil {
			c.log("read: %v", err)
			if ctx.Err() != nil {
				c.Fatalf("the course hangs:\n%q", c.steps)
			}
			c.reopen()
			continue
		}
		c.read = append(c.read, records...)
		if slices.Contains(idsOf(records), marker.ID) {
			break
		}
	}
	c.log("read %d", len(c.read))
}

// settle delivers the first n of what was read: only that need not come again.
func (c *course) settle(n int) {
	if n == 0 {
		return
	}
	c.r.settle(c.read[n-1])
	for _, r := range c.read[:n] {
		c.delivered = append(c.delivered, r.Message)
	}
	c.read = c.read[n:]
	c.log("settle %d", n)
}

func (c *course) reopen() {
	c.reopenAs([]postgres.Relay{postgres.Tail, postgres.Tail, postgres.Poll}[c.random.IntN(3)])
}

func (c *course) reopenAs(how postgres.Relay) {
	c.r.close()
	c.store, c.read = open(c.T, c.store.Pool(), postgres.Config{Relay: how}), nil
	for {
		checkpoint, err := c.store.Checkpoint(c.Context())
		must(c.T, err)
		cursor, err := c.store.OpenOutbox(soon(c.T), checkpoint.Position)
		if err == nil {
			c.r.store, c.r.cursor = c.store, cursor
			break
		}
		c.log("open: %v", err)
	}
	c.log("reopen %s", how)
}

// tail opens anew and reads until the log is what is read.
func (c *course) tail() {
	if len(c.open) > 0 { // a slot waits for them
		return
	}
	for {
		c.reopenAs(postgres.Tail)
		before, err := c.r.tryTail()
		if c.log("tail: %v", err); err != nil {
			continue // as a relay does
		}
		for _, r := range before {
			c.delivered = append(c.delivered, r.Message)
		}
		return
	}
}

// harm is what others do to the reader, or beside it.
func (c *course) harm() {
	switch c.random.IntN(3) {
	case 0:
		dropSlot(c.T, c.store)
		c.log("drop the slot")
	case 1:
		exec(c.T, c.store, "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = current_database() AND active")
		c.log("cut")
	case 2:
		_, err := c.store.CleanOutbox(c.Context(), time.Now().Add(time.Hour), 100)
		must(c.T, err)
		c.log("clean")
	}
}

// check compares what was delivered first of each message with what was committed.
func (c *course) check() {
	delivered, last := map[skald.ID]bool{}, map[string]int{}
	place := map[skald.ID]int{}
	for i, m := range c.committed {
		place[m.ID] = i
	}
	for _, m := range c.delivered {
		if m.Key == "marker" { // of a reader that began to tail
			continue
		}
		if at, ok := place[m.ID]; !ok {
			c.Fatalf("a message that was not committed came out:\n%q", c.steps)
		} else if !delivered[m.ID] && at < last[m.Key] {
			c.Fatalf("key %s is out of order:\n%q", m.Key, c.steps)
		} else if !delivered[m.ID] {
			last[m.Key] = at
		}
		delivered[m.ID] = true
	}
	if len(delivered) != len(c.committed) {
		c.Fatalf("%d of %d messages came out:\n%q", len(delivered), len(c.committed), c.steps)
	}
}

// Whatever happens, what is settled and what is read from there on are together all that was
// committed.
//
// Faults: 37, 42, 43.
func TestWhateverHappensToTheReaderNothingIsLost(t *testing.T) {
	t.Parallel()
	const courses, steps = 12, 60
	seed := rand.Uint64()
	for n := range uint64(courses) {
		t.Run(fmt.Sprint(seed, "-", n), func(t *testing.T) {
			store := open(t, connect(t, database(t)), postgres.Config{})
			c := &course{T: t, random: rand.New(rand.NewPCG(seed, n)), store: store, r: reads(t, store)}
			for range steps {
				c.step()
			}
			for len(c.open) > 0 {
				c.end()
			}
			c.reopenAs(postgres.Tail)
			c.take(true)
			c.settle(len(c.read))
			c.check()
		})
	}
}

func (c *course) step() {
	switch c.random.IntN(13) {
	case 0, 1, 2:
		c.add()
	case 3:
		c.begin()
	case 4:
		c.end()
	case 5, 6, 7:
		c.take(false)
	case 8, 9:
		c.settle(c.random.IntN(len(c.read) + 1))
	case 10:
		c.reopen()
	case 11:
		c.harm()
	case 12:
		c.tail()
	}
}
