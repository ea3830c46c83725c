package skaldtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
)

func TestLeasesExpireOnTheVirtualClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := skaldtest.NewStore()
		p := []inbox.Partition{partition()}
		claim := func(holder string) int {
			leases, err := s.ClaimPartitions(t.Context(), holder, p, time.Hour)
			must(t, err)
			return len(leases)
		}
		claim("a")
		time.Sleep(time.Hour - 1) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
		if claim("b") != 0 {
			t.Error("the lease expired early")
		}
		time.Sleep(time.Nanosecond) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
		if claim("b") != 1 {
			t.Error("the lease did not expire")
		}
	})
}

// synctest.Wait returns only when every goroutine is durably blocked: a twin that waited
// under a mutex, or in a loop, would hang it or spin.
func TestEveryWaitIsDurablyBlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := skaldtest.NewStore(), skaldtest.NewBroker(skaldtest.BrokerConfig{})
		writer := begin(t, s)
		ended := make(chan string, 3)
		go func() {
			cursor, err := s.OpenOutbox(t.Context(), relay.Position{})
			if err == nil {
				_, err = cursor.Next(t.Context(), 1)
			}
			report(ended, "cursor", err)
		}()
		go func() {
			tx, err := s.BeginTx(t.Context())
			if err == nil {
				err = s.AddMessages(t.Context(), tx, messages(1))
			}
			if err == nil {
				err = tx.Commit()
			}
			report(ended, "transaction", err)
		}()
		r := reader(t, b, inbox.Position{})
		go func() {
			_, err := r.Receive(t.Context())
			report(ended, "reader", err)
		}()
		synctest.Wait()
		time.Sleep(24 * time.Hour) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
		if len(ended) > 0 {
			t.Errorf("ended before there was anything to wait for: %s", <-ended)
		}
		must(t, writer.Commit())
		publish(t, b, messages(1))
		synctest.Wait()
		for range 3 {
			if what := <-ended; what != "" {
				t.Error(what)
			}
		}
	})
}

// report sends what failed, and nothing when it is nothing.
func report(to chan<- string, what string, err error) {
	if err != nil {
		to <- what + ": " + err.Error()
		return
	}
	to <- ""
}
