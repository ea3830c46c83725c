package nats

import (
	"testing"
	"time"
)

func TestATrailTellsWhatWasAWhileAgo(t *testing.T) {
	var tr trail
	begin := time.Unix(100, 0)
	second := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
	if tr.at(begin) != 0 || tr.unsettled(begin) {
		t.Error("an empty trail knows something")
	}
	tr.add(second(1), 10)
	tr.add(second(2), 10)
	tr.add(second(3), 20)
	tr.add(second(4), 15) // never falls
	for _, c := range []struct {
		moment    int
		want      uint64
		unsettled bool
	}{{0, 0, true}, {1, 10, true}, {2, 10, true}, {3, 20, false}, {9, 20, false}} {
		if got := tr.at(second(c.moment)); got != c.want || tr.unsettled(second(c.moment)) != c.unsettled {
			t.Errorf("at second %d: %d, unsettled %t", c.moment, got, tr.unsettled(second(c.moment)))
		}
	}
}

func TestAFullTrailIsNeverEarly(t *testing.T) {
	var tr trail
	begin := time.Unix(0, 0)
	for i := range 3 * maxTrail {
		tr.add(begin.Add(time.Duration(i)), uint64(i+1))
	}
	if len(tr.points) != maxTrail {
		t.Errorf("%d points", len(tr.points))
	}
	if got := tr.at(begin.Add(2 * maxTrail)); got > 2*maxTrail+1 {
		t.Errorf("%d is from later", got)
	}
}
