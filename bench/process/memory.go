// Package process says what processes use, as Linux counts it; elsewhere all of it is 0.
package process

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
)

// MemoryLimit is for Go's runtime, where the peak matters: without one the heap may grow to
// twice what is in use before what is not is found.
const MemoryLimit = 160 << 20

// growth is by how many percent the heap may grow over what is in use, short of the limit.
const growth = 400

// BoundMemory bounds the heap as a service would that knows how much memory it has: rarely
// collected while it is small, and in time when it comes near the limit (GOGC=400 GOMEMLIMIT=160MiB).
func BoundMemory() {
	debug.SetGCPercent(growth)
	debug.SetMemoryLimit(MemoryLimit)
}

// ForgetPeak gives unused memory back and lets [Peak] begin anew.
func ForgetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // where there is none, Peak is 0
}

// Peak is the most memory in MiB that the process, with the broker in it, has had since
// ForgetPeak, as the system counts it; 0 where the system does not say.
func Peak() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		return 0
	}
	return kib >> 10
}
