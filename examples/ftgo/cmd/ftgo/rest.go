package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restEvery is how often the process is looked at.
	restEvery = 10 * time.Second
	// restAllocates is what a process at rest allocates in that time at most, in bytes: pollers
	// and leases take a tenth of it, a few orders a second all of it.
	restAllocates = 16 << 20
)

// giveBack returns memory to the system whenever the process comes to rest, until ctx ends.
// Left alone, Go's runtime keeps what the last peak took: it returns what its collections free,
// and a process at rest has none for minutes.
func giveBack(ctx context.Context) {
	look := time.NewTicker(restEvery)
	defer look.Stop()
	var r rest
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if r.begins(allocated()) {
			debug.FreeOSMemory() // what lies in pools outlives one collection
			debug.FreeOSMemory()
		}
	}
}

// allocated is how many bytes the process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// rest tells from what was ever allocated, look by look, whether the process works.
type rest struct {
	allocated uint64
	works     bool
}

// begins is true at the first look that finds the process at rest after work.
func (r *rest) begins(allocated uint64) bool {
	worked := r.works
	r.works = allocated-r.allocated > restAllocates
	r.allocated = allocated
	return worked && !r.works
}
