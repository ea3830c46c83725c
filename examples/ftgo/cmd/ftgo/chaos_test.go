package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/load"
	"github.com/skald-go/skald/store/postgres"
	"github.com/skald-go/skald/store/sqlite"
)

// Ten hot orders are created, cancelled and revised in all styles while the application is killed every few seconds: no lock
// stays behind, none has two holders, no saga waits for ever, and every other invariant holds too. It is short; for longer:
//
//	SKALD_CHAOS=10m go test -timeout 1h -run TestChaosOnHotOrders -v ./cmd/ftgo
//
// Faults: 16, 62, 63, 64, 66.
func TestChaosOnHotOrders(t *testing.T) {
	length := 10 * time.Second
	if given := os.Getenv("SKALD_CHAOS"); given != "" {
		var err error
		if length, err = time.ParseDuration(given); err != nil {
			t.Fatal(err)
		}
	}
	binary := build(t)
	t.Run("sqlite", func(t *testing.T) {
		data, addr := t.TempDir(), freeAddress(t)
		start := func() *server { return serve(t, binary, "--data", data, "--addr", addr) }
		running := start()
		chaos(t, addr, length, func() {
			running.kill(t)
			running = start()
		})
		clean(t, data, time.Minute)
		running.terminate(t)
		clean(t, data, 0)
		orders, err := sqlite.Open(t.Context(), filepath.Join(data, "order.db"), sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer orders.Close()
		var again int
		if err := orders.DB().QueryRowContext(t.Context(), startedAgain).Scan(&again); err != nil {
			t.Fatal(err)
		}
		t.Logf("sagas started again %d times", again)
	})
	t.Run("postgres", func(t *testing.T) {
		s := startOnPostgreSQL(t, binary, postgres.Tail)
		chaos(t, s.addr, length, s.kill)
		cleanOn(t, s.shops, time.Minute)
		s.running.terminate(t)
		cleanOn(t, s.shops, 0)
		again, err := s.query(startedAgain)
		s.must(err)
		t.Logf("sagas started again %d times", again)
	})
}

const startedAgain = `SELECT count(*) FROM skald_history WHERE what = 'started again'`

// chaos makes requests for a while, and kills the application meanwhile.
func chaos(t *testing.T, addr string, length time.Duration, kill func()) {
	t.Helper()
	const hot = 10
	ctx, cancel := context.WithTimeout(t.Context(), length+3*time.Minute)
	defer cancel()
	client, err := load.New(load.Config{URL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Prepare(ctx, 1000); err != nil {
		t.Fatal(err)
	}
	result := make(chan load.HotReport, 1)
	go func() {
		report, err := client.Heat(ctx, load.HotPlan{Orders: hot, For: length, Decline: 0.1, Styles: orderapi.Styles})
		if err != nil {
			t.Error(err)
		}
		result <- report
	}()
	var report load.HotReport
	kills := 0
	for running := true; running; {
		select {
		case report = <-result:
			running = false
		case <-time.After(2*time.Second + rand.N(2*time.Second)):
			kill()
			kills++
		}
	}
	t.Logf("%d kills in %.1f s: %s", kills, report.Seconds, report)
	if !report.OK() || kills < 2 {
		t.Errorf("after %d kills: never ended %v, wrong %v, %d failed:\n%s", kills, report.NeverEnded, report.Wrong, report.Failed, strings.Join(report.Failures, "\n"))
	}
	if min(report.Created, report.Cancels, report.Revisions, report.Conflicts) == 0 {
		t.Errorf("nothing of something: %s", report)
	}
}
