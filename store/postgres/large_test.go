package postgres_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

// addNumbered has the server add n messages in one transaction, in one statement: their ids end
// with their number, from 1.
func addNumbered(t *testing.T, store *postgres.Store, n int) {
	t.Helper()
	const idAt = 3 // in a message's binary form, counted from 1
	m := messages(1, "k")[0]
	encoded, err := m.MarshalBinary()
	must(t, err)
	exec(t, store, `INSERT INTO skald_outbox (bucket, id, channel, key, type, message)
SELECT 0, encode(substr(numbered, $3, 16), 'hex')::uuid, 'orders', 'k', 'order.placed', numbered
FROM (SELECT overlay($1::bytea PLACING int8send(n) FROM $3 + 8) AS numbered FROM generate_series(1, $2::bigint) AS n) AS list`, encoded, n, idAt)
}

func numberOf(id skald.ID) int { return int(binary.BigEndian.Uint64(id[8:])) }

// Faults: 45.
func TestATransactionOfAMillionRowsIsReadInOrderAndInLittleMemory(t *testing.T) {
	const rows, middle, limit = 1_000_000, 400_000, 64 << 20
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	addNumbered(t, store, rows)
	highest, read := uint64(0), 0
	upTo := func(end int) (last relay.Record) {
		ctx := t.Context()
		for read < end {
			records, err := r.cursor.Next(ctx, min(512, end-read))
			must(t, err)
			for i := range records {
				if read++; numberOf(records[i].Message.ID) != read {
					t.Fatalf("message %d came as number %d", numberOf(records[i].Message.ID), read)
				}
			}
			if read%10_240 < 512 {
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				highest = max(highest, memory.HeapInuse)
			}
			last = records[len(records)-1]
		}
		return last
	}
	r.settle(upTo(middle))
	upTo(middle + 5000) // and dies
	r.close()
	said := listen(t)
	r, read = reads(t, open(t, connect(t, url), postgres.Config{Logger: said.logger()})), middle
	r.settle(upTo(rows))
	last := messages(1, "k")
	add(t, store, last...)
	r.takes(last...)
	if said.has(logError) {
		t.Error("the reader that went on in the middle met an error")
	}
	if highest > limit {
		t.Errorf("the heap grew to %d MiB", highest>>20)
	}
	t.Logf("the heap was %d MiB at most", highest>>20)
}
