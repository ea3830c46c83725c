package embedded_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/inbox"
)

// descriptors is how many files this process has open; 0 where the system does not tell.
func descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(open)
}

// Faults: 91.
func TestAThousandReconnectsLeaveNothingBehind(t *testing.T) {
	const reconnects, slack = 1000, 10
	server := startServer(t, t.TempDir())
	keep := connect(t, server.Config())
	publish(t, openSession(t, keep, ""), event("one", 0))
	partition := inbox.Partition{Channel: channel, Group: "kitchen", Number: skald.Partition("one", 4)}
	reconnect := func() {
		cfg := server.Config()
		cfg.Logger = quiet()
		broker, err := nats.Connect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		session, err := broker.OpenSession(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		reader, err := broker.OpenReader(t.Context(), partition, inbox.Position{})
		if err != nil {
			t.Fatal(err)
		}
		if deliveries, err := reader.Receive(t.Context()); err != nil || len(deliveries) == 0 {
			t.Fatalf("%d deliveries, %v", len(deliveries), err)
		}
		if err := broker.Close(); err != nil { // with its session and reader open
			t.Fatal(err)
		}
		_, _ = session.Close(), reader.Close() // the connection is gone already
	}
	for range 20 { // until pools are filled
		reconnect()
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	for range reconnects {
		reconnect()
	}
	eventually(t, "as many goroutines and descriptors as before", func() bool {
		return runtime.NumGoroutine() <= goroutines+slack && descriptors() <= files+slack
	})
}
