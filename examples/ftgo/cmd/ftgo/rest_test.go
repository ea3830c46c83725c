package main

import "testing"

func TestMemoryIsGivenBackOnceAfterWork(t *testing.T) {
	t.Parallel()
	const much, little = 10 * restAllocates, restAllocates / 10
	var (
		r     rest
		total uint64
	)
	for look, step := range []struct {
		allocates uint64
		begins    bool
	}{
		{little, false}, {much, false}, {much, false}, {little, true}, {little, false}, {0, false}, {much, false}, {0, true},
	} {
		total += step.allocates
		if begins := r.begins(total); begins != step.begins {
			t.Errorf("look %d: %t", look, begins)
		}
	}
	if now := allocated(); now == 0 || allocated() < now {
		t.Errorf("%d bytes allocated", now)
	}
}
