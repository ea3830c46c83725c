package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
)

// dialer dials whichever server is current.
func dialer(current func() *embedded.Server) func(context.Context, ...client.Option) (*client.Conn, error) {
	return func(ctx context.Context, options ...client.Option) (*client.Conn, error) {
		return current().Dial(ctx, options...)
	}
}

func share(t testing.TB, dir string) *embedded.SharedBroker {
	t.Helper()
	shared, err := embedded.Shared(testContext(t), dir, embedded.Config{SyncInterval: syncInterval, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	})
	return shared
}

func TestASharedBrokerMovesToAnotherProcessWhenItsHostEnds(t *testing.T) {
	dir := t.TempDir()
	first, second := share(t, dir), share(t, dir)
	if !first.Hosting() || second.Hosting() {
		t.Fatalf("hosting: first %t, second %t", first.Hosting(), second.Hosting())
	}
	here, there := connect(t, first.Config()), connect(t, second.Config())
	session := openSession(t, here, "")
	mark := durable(t, session, publish(t, session, event("one", 0)).Number)
	p := skald.Partition("one", 4)
	reader := openReader(t, there, "kitchen", p, inbox.Position{})
	at := last(receive(t, reader, 1))

	if err := errors.Join(here.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Receive(testContext(t)); err == nil {
		t.Fatal("the reader outlived its server")
	}
	again := openSession(t, there, mark)
	if again.Lost() || !second.Hosting() {
		t.Errorf("after the takeover: lost %t, hosting %t", again.Lost(), second.Hosting())
	}
	publish(t, again, event("one", 1))
	receive(t, openReader(t, there, "kitchen", p, at), 1)
	third := share(t, dir)
	if third.Hosting() {
		t.Error("two hosts")
	}
	receive(t, openReader(t, connect(t, third.Config()), "billing", p, inbox.Position{}), 2)
}

func TestManyThatJoinAtOnceHaveOneHost(t *testing.T) {
	dir := t.TempDir()
	const n = 6
	joined := make(chan *embedded.SharedBroker, n)
	for range n {
		go func() {
			shared, err := embedded.Shared(t.Context(), dir, embedded.Config{SyncInterval: syncInterval, Logger: quiet()})
			if err != nil {
				t.Error(err)
			}
			joined <- shared
		}()
	}
	hosts := 0
	var all []*embedded.SharedBroker
	for range n {
		if shared := <-joined; shared != nil {
			all = append(all, shared)
		}
	}
	for _, shared := range all {
		if shared.Hosting() {
			hosts++
		}
	}
	if hosts != 1 {
		t.Errorf("%d hosts", hosts)
	}
	for _, shared := range all {
		if err := shared.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheSharedAddressIsSecretAndTheTokenAskedFor(t *testing.T) {
	dir := t.TempDir()
	share(t, dir)
	info, err := os.Stat(filepath.Join(dir, "broker.addr"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the address has mode %o", mode)
	}
	server := startServer(t, t.TempDir())
	if conn, err := client.Connect(server.URL()); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	if _, err := nats.Connect(testContext(t), nats.Config{URL: server.URL()[:len("nats://")] + server.URL()[len(server.URL())-len("127.0.0.1:00000"):], Logger: quiet()}); err == nil {
		t.Error("the server took a client without a token")
	}
}

func TestASharedBrokerRefusesToBeSyncedLessOften(t *testing.T) {
	dir := t.TempDir()
	share(t, dir)
	if _, err := embedded.Shared(testContext(t), dir, embedded.Config{SyncInterval: syncInterval / 2, Logger: quiet()}); err == nil {
		t.Error("a host that syncs less often was accepted")
	}
}

func TestAFolderHasOneServer(t *testing.T) {
	dir := t.TempDir()
	startServer(t, dir)
	if _, err := embedded.Start(embedded.Config{StoreDir: dir, Logger: quiet()}); !errors.Is(err, embedded.ErrHosted) {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]embedded.Config{
		"no folder":          {},
		"a file as folder":   {StoreDir: file},
		"a public address":   {StoreDir: t.TempDir(), Host: "0.0.0.0"},
		"a name as address":  {StoreDir: t.TempDir(), Host: "example.com"},
		"a negative port":    {StoreDir: t.TempDir(), Port: -1},
		"a negative rhythm":  {StoreDir: t.TempDir(), SyncInterval: -1},
		"a folder in a file": {StoreDir: filepath.Join(file, "below")},
	} {
		t.Run(name, func(t *testing.T) {
			if server, err := embedded.Start(cfg); err == nil {
				_ = server.Shutdown()
				t.Error("it was accepted")
			}
		})
	}
}
