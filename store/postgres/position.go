package postgres

import (
	"fmt"
	"math"
	"sync"

	"github.com/skald-go/skald/relay"
)

// A position's Commit is a place in the write-ahead log. Of a record that was tailed it is where
// its transaction's commit stands, which is the only place that orders transactions; Index counts
// the transaction's rows. Of a record that was read from the table it is a place behind the
// commits of all that the same reading saw, made odd: no commit stands at an odd place.

// place is a place in the write-ahead log.
type place uint64

// String is the place as PostgreSQL writes it.
func (p place) String() string { return fmt.Sprintf("%X/%X", uint32(p>>32), uint32(p)) }

func parsePlace(text string) (place, error) {
	var high, low uint32
	if _, err := fmt.Sscanf(text, "%X/%X", &high, &low); err != nil {
		return 0, fmt.Errorf("place in the log %q: %w", text, err)
	}
	return place(high)<<32 | place(low), nil
}

// scanned is the Commit of records that are read from the table behind a place.
func (p place) scanned() uint64 { return uint64(p) | 1 }

// tailed reports whether the position is that of a record from the log.
func tailed(p relay.Position) bool { return p.Commit&1 == 0 && p.Commit != 0 }

// emptySnapshot sees nothing.
const emptySnapshot = "1:1:"

// progress says what is settled once a position is: so much of a reading of the table, or the log
// up to a place.
type progress struct {
	position relay.Position
	// Of a reading of the table: rows that floor sees are settled, and of those that bound sees
	// the ones up to the sequence number scanned. An empty bound ends the reading: floor sees all
	// of it.
	floor, bound string
	scanned      int64
	// Of the log: everything that committed before this place.
	confirmed place
}

// trail keeps what the positions given out mean, until they are settled. It is safe for
// concurrent use.
type trail struct {
	mu    sync.Mutex
	steps []progress
}

// add notes what is settled with a position, which is behind all others.
func (t *trail) add(p progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, p)
}

// find returns what is settled with a position; false when it settles nothing that is known here.
func (t *trail) find(p relay.Position) (progress, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.upTo(p)
	if n == 0 {
		return progress{}, false
	}
	return t.steps[n-1], true
}

// settled forgets what comes before a position that is settled.
func (t *trail) settled(p relay.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.upTo(p) - 1; n > 0 {
		t.steps = append(t.steps[:0], t.steps[n:]...)
	}
}

func (t *trail) upTo(p relay.Position) int {
	n := 0
	for n < len(t.steps) && !p.Before(t.steps[n].position) {
		n++
	}
	return n
}

// rewind forgets what was given out behind a position: it is read anew from there.
func (t *trail) rewind(p relay.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = t.steps[:t.upTo(p)]
}

// nextIndex counts on from an index, and stays at the greatest: positions rise all the same as
// long as a reading has fewer than four billion rows.
func nextIndex(i uint32) uint32 { return min(i, math.MaxUint32-1) + 1 }
