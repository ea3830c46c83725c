package throughput

import (
	"bytes"
	"os/exec"
	"runtime/debug"
	"testing"

	"github.com/skald-go/skald/bench/process"
)

func silent(string, int, int) {}

func TestEveryMessageGoesThroughEveryPart(t *testing.T) {
	r, err := Run(t.Context(), Options{Messages: 1500, Ended: 700, Report: silent})
	if err != nil || r.Handled != 1500 || r.Add == 0 || r.Relay == 0 || r.Inbox == 0 {
		t.Errorf("result %+v, %v", r, err)
	}
}

// measured runs a test that measures memory, in another process where this one has the race
// detector, which would be measured too.
func measured(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if !process.RaceDetector {
		bound(t)
		test(t)
		return
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "^"+t.Name()+"$", ".").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("without the race detector: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// bound bounds what lies in the heap as garbage, as a process that counts its memory does.
func bound(t *testing.T) {
	t.Helper()
	before := debug.SetMemoryLimit(process.MemoryLimit)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	process.ForgetPeak()
	if process.Peak() == 0 {
		t.Log("this system does not say how much memory a process has had: it is not checked")
	}
}

// most is how much memory a process may take, in MiB, however much waits for it.
const most = 256

// A backlog that would not fit into the memory that the process may take flows through it all
// the same, from the outbox to the broker and from there to a handler.
//
// Faults: 88.
func TestABacklogIsNotKeptInMemory(t *testing.T) { measured(t, aBacklogIsNotKeptInMemory) }

func aBacklogIsNotKeptInMemory(t *testing.T) {
	t.Helper()
	const backlog = 300_000
	r, err := Run(t.Context(), Options{Messages: backlog, Report: silent})
	if err != nil || r.Handled != backlog {
		t.Fatalf("result %+v, %v", r, err)
	}
	t.Logf("at most %d MiB to publish, %d MiB to handle", r.RelayPeak, r.InboxPeak)
	if r.RelayPeak > most || r.InboxPeak > most {
		t.Errorf("a backlog of %d messages took %d MiB to publish and %d MiB to handle", backlog, r.RelayPeak, r.InboxPeak)
	}
}
