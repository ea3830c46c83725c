package embedded_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/conform"
)

// replaceable is a broker whose server is replaced while a case runs.
type replaceable struct {
	dir    string
	server atomic.Pointer[embedded.Server]
}

// dial connects to the present server.
func (r *replaceable) dial(ctx context.Context, options ...client.Option) (*client.Conn, error) {
	return r.server.Load().Dial(ctx, options...)
}

// replace starts another server on the folder, after change.
func (r *replaceable) replace(t *testing.T, change func(dir string) error) {
	t.Helper()
	if err := r.server.Load().Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := change(r.dir); err != nil {
		t.Fatal(err)
	}
	r.server.Store(startServer(t, r.dir))
}

func (r *replaceable) wipe(t *testing.T) {
	t.Helper()
	r.replace(t, os.RemoveAll)
}

func (r *replaceable) restart(t *testing.T) {
	t.Helper()
	r.replace(t, func(string) error { return nil })
}

func (r *replaceable) publishRaw(t *testing.T, channel, key string, body []byte) {
	t.Helper()
	_, js := raw(t, r.server.Load())
	subject := fmt.Sprintf("skald.%s.%d", channel, skald.Partition(key, 4))
	if _, err := js.Publish(testContext(t), subject, body); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	conform.TestBroker(t, func(t *testing.T) conform.BrokerUnderTest {
		t.Helper()
		r := &replaceable{dir: filepath.Join(t.TempDir(), "broker")}
		r.server.Store(startServer(t, r.dir))
		cfg := r.server.Load().Config()
		cfg.Dial = r.dial
		return conform.BrokerUnderTest{
			Broker:     connect(t, cfg),
			Wipe:       r.wipe,
			Restart:    r.restart,
			PublishRaw: r.publishRaw,
		}
	})
}
