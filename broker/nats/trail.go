package nats

import "time"

// trail is a number that only rises, and when it was read: it answers what the number was
// a while ago.
type trail struct{ points []point }

type point struct {
	at    time.Time
	value uint64
}

// maxTrail bounds a trail. In one that is full the newest point moves, which makes its value
// count later than it might.
const maxTrail = 256

func (t *trail) add(at time.Time, value uint64) {
	n := len(t.points)
	switch {
	case n > 0 && t.points[n-1].value >= value:
	case n == maxTrail:
		t.points[n-1] = point{at, value}
	default:
		t.points = append(t.points, point{at, value})
	}
}

// at is the newest value that was read at the moment or before; 0 when there is none. It
// forgets what is older, so the moments must not run back.
func (t *trail) at(moment time.Time) uint64 {
	n := 0
	for n+1 < len(t.points) && !t.points[n+1].at.After(moment) {
		n++
	}
	t.points = t.points[n:]
	if len(t.points) == 0 || t.points[0].at.After(moment) {
		return 0
	}
	return t.points[0].value
}

// unsettled reports whether the newest value is newer than the moment.
func (t *trail) unsettled(moment time.Time) bool {
	n := len(t.points)
	return n > 0 && t.points[n-1].at.After(moment)
}
