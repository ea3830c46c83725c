package embedded_test

import (
	"bufio"
	"os"
	"os/exec"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
)

// hostFolder tells a copy of this test binary to host the shared broker of a folder, and
// nothing else.
const hostFolder = "SKALD_TEST_HOST_FOLDER"

func TestHostProcess(t *testing.T) {
	dir := os.Getenv(hostFolder)
	if dir == "" {
		return // this is the test run itself
	}
	shared, err := embedded.Shared(t.Context(), dir, embedded.Config{SyncInterval: syncInterval, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if !shared.Hosting() {
		t.Fatal("another process hosts")
	}
	_, _ = os.Stdout.WriteString("hosting\n")
	select {} // until killed
}

func TestASharedBrokerIsTakenOverWhenItsHostIsKilled(t *testing.T) {
	dir := t.TempDir()
	host := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHostProcess$", "-test.timeout=5m")
	host.Env = append(os.Environ(), hostFolder+"="+dir)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "hosting\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	shared := share(t, dir)
	broker := connect(t, shared.Config())
	session := openSession(t, broker, "")
	mark := durable(t, session, publish(t, session, event("one", 0), event("one", 1)).Number)
	if shared.Hosting() {
		t.Fatal("two hosts")
	}
	if err := host.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = host.Wait() // says that it was killed

	again := openSession(t, broker, mark)
	if again.Lost() || !shared.Hosting() {
		t.Errorf("after the takeover: lost %t, hosting %t", again.Lost(), shared.Hosting())
	}
	publish(t, again, event("one", 2))
	receive(t, openReader(t, broker, "kitchen", skald.Partition("one", 4), inbox.Position{}), 3)
}
