package postgres_test

import (
	"testing"

	"github.com/skald-go/skald/store/postgres"
)

// Only the places of commits order transactions: the early one's rows stand in the log before
// everything that was read and settled.
//
// Faults: 42.
func TestATransactionThatCommitsBehindTheCheckpointIsReadAfterIt(t *testing.T) {
	t.Parallel()
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	early, late := messages(2, "early"), messages(1, "late")
	tx := adding(t, store, early...)
	add(t, store, late...)
	r.settle(r.takes(late...))
	r.close()
	r = reads(t, open(t, connect(t, url), postgres.Config{}))
	must(t, tx.Commit(t.Context()))
	r.takes(early...)
}

func TestATransactionIsReadOnFromItsMiddle(t *testing.T) {
	t.Parallel()
	url := database(t)
	store := open(t, connect(t, url), postgres.Config{})
	r := reads(t, store)
	r.tail()
	list, behind := messages(7, "k"), messages(1, "k")
	add(t, store, list...) // one statement
	for n := range 3 {     // settled are none, two, and four
		r.takes(list[2*n])
		r.settle(r.takes(list[2*n+1]))
		r.close()
		r = reads(t, open(t, connect(t, url), postgres.Config{}))
	}
	add(t, store, behind...)
	r.takes(list[6], behind[0])
}
