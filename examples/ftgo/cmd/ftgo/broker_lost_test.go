package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/load"
	"github.com/skald-go/skald/store/sqlite"
)

// The broker's folder is lost under load, twice, and each time with it commands that it had
// surely on disk, so that no relay's checkpoint is before them, and that nobody had handled: the
// kitchen was down. Started again, the services publish from their outboxes what is
// missing, and nothing is lost or done twice.
//
// Faults: 30.
func TestTheBrokersFolderIsLostUnderLoad(t *testing.T) {
	binary := build(t)
	t.Run("removed", func(t *testing.T) {
		t.Parallel()
		s := openShop(t, binary)
		s.underLosses(func() { s.remove() }, func() { s.remove() })
	})
	t.Run("replaced by an older copy", func(t *testing.T) {
		t.Parallel()
		s := openShop(t, binary)
		older := filepath.Join(t.TempDir(), "copy")
		s.underLosses(func() { s.copyBroker(older) }, func() {
			s.remove()
			if err := os.CopyFS(s.broker(), os.DirFS(older)); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// shop is FTGO in two processes: the kitchen, and all others with the broker.
type shop struct {
	*testing.T
	binary, data, addr string
	host, kitchen      *server
	orders             *sqlite.Store // the database of the order service
	noticed            int           // losses, as the hosts that were stopped have logged them
}

func openShop(t *testing.T, binary string) *shop {
	t.Helper()
	s := &shop{T: t, binary: binary, data: t.TempDir(), addr: freeAddress(t)}
	s.startHost()
	appears(t, filepath.Join(s.data, "order.addr"))
	s.startKitchen()
	orders, err := sqlite.Open(t.Context(), filepath.Join(s.data, "order.db"), sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.orders = orders
	t.Cleanup(func() {
		if err := orders.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shop) startHost() {
	s.host = serve(s.T, s.binary, "--data", s.data, "--addr", s.addr, "--service", "order,consumer,restaurant,accounting,gateway")
}

func (s *shop) startKitchen() {
	s.kitchen = serve(s.T, s.binary, "--data", s.data, "--addr", "127.0.0.1:0", "--service", "kitchen")
}

func (s *shop) broker() string { return filepath.Join(s.data, "broker") }

func (s *shop) remove() {
	if err := os.RemoveAll(s.broker()); err != nil {
		s.Fatal(err)
	}
}

func (s *shop) copyBroker(to string) {
	if err := os.CopyFS(to, os.DirFS(s.broker())); err != nil {
		s.Fatal(err)
	}
}

// settled says that orders wait for the kitchen, and that the broker has surely on disk what
// it is to do.
func (s *shop) settled(c load.Counts) bool {
	lag, err := s.orders.OutboxLag(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return c.Open >= kitchenQueue && lag.Messages == 0
}

// kitchenQueue is how many orders wait for the kitchen when the broker is lost.
const kitchenQueue = 20

// underLosses places orders, and does one thing after the other to the broker's folder while
// no process runs.
func (s *shop) underLosses(losses ...func()) {
	const orders = 600
	done, cooking := 0, true
	report := underLoad(s.T, s.addr, orders, func(c load.Counts) {
		switch {
		case cooking && done < len(losses) && c.Accepted >= (done+1)*orders/(len(losses)+1):
			cooking = false
			s.kitchen.kill(s.T)
		case !cooking && s.settled(c):
			s.Logf("the host is killed with %d sagas open", c.Open)
			s.host.kill(s.T)
			s.noticed += strings.Count(s.host.log.String(), "the broker does not hold what it held")
			losses[done]()
			done, cooking = done+1, true
			s.startHost()
			s.startKitchen()
		}
	})
	if !report.OK() || done != len(losses) {
		s.Errorf("after %d losses: %+v", done, report)
	}
	clean(s.T, s.data, 30*time.Second)
	s.host.terminate(s.T)
	s.kitchen.terminate(s.T)
	clean(s.T, s.data, 0)
	s.noticed += strings.Count(s.host.log.String()+s.kitchen.log.String(), "the broker does not hold what it held")
	if s.noticed == 0 {
		s.Error("no relay has noticed that the broker's folder was lost")
	}
}
