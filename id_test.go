package skald_test

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

func TestIDsRiseWhateverTheClockDoes(t *testing.T) {
	g := skald.NewIDGenerator(bytes.NewReader(bytes.Repeat([]byte{0xff, 0x00, 0xa5}, 1<<20)))
	now := time.UnixMilli(1_790_000_000_000)
	var last skald.ID
	for i := range 100_000 {
		switch i % 1000 {
		case 0:
			now = now.Add(time.Millisecond)
		case 500:
			now = now.Add(-time.Hour)
		case 501:
			now = now.Add(time.Hour)
		}
		id := g.Next(now)
		if bytes.Compare(id[:], last[:]) <= 0 {
			t.Fatalf("id %d: %s does not come after %s", i, id, last)
		}
		if id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Fatalf("%s is not a UUID of version 7", id)
		}
		last = id
	}
}

func TestIDsAreUniqueAcrossGoroutines(t *testing.T) {
	const goroutines, each = 8, 2000
	drawn := make([][]skald.ID, goroutines)
	var group sync.WaitGroup
	for i := range drawn {
		group.Go(func() {
			for range each {
				drawn[i] = append(drawn[i], skald.NewID())
			}
		})
	}
	group.Wait()
	seen := map[skald.ID]bool{}
	for _, id := range slices.Concat(drawn...) {
		seen[id] = true
	}
	if len(seen) != goroutines*each {
		t.Errorf("%d different ids, want %d", len(seen), goroutines*each)
	}
}

func TestIDTextRoundTrip(t *testing.T) {
	id := skald.NewID()
	parsed, err := skald.ParseID(id.String())
	if err != nil || parsed != id {
		t.Errorf("ParseID(%s) = %s, %v", id, parsed, err)
	}
	if since := time.Since(id.Time()); since < 0 || since > time.Minute {
		t.Errorf("the id's time is %s ago", since)
	}
	for _, bad := range []string{"", "x", id.String() + "0", "0198c5e2_7f3a-7cc1-8f3e-2b1d4a5c6e7f", "0198c5e2-7f3a-7cc1-8f3e-2b1d4a5c6e7g"} {
		if _, err := skald.ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) took it", bad)
		}
	}
}
