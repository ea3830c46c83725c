package flow

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skald-go/skald/internal/servers"
)

// The server that tests share, where this process has to start it, ends with the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/skald-go/skald/internal/servers.(*process).wait"))
}

func TestEveryMessageArrivesOnEveryPath(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	results, err := Run(t.Context(), Options{
		Writers: 2, Rate: 100, Backlog: 400, Repetitions: 1, Warm: 50 * time.Millisecond, For: 500 * time.Millisecond,
		Report: func(string, int, int) {},
	})
	if err != nil || len(results) != 4 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for _, r := range results {
		if r.Lost != 0 || r.Live == 0 || r.P50 == 0 {
			t.Errorf("result %+v", r)
		}
	}
}

func TestABacklogIsPublishedFromTheTableAndFromTheLog(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	r, err := RunBacklog(t.Context(), 3000, func(string, int, int) {})
	if err != nil || r.Table == 0 || r.Log == 0 {
		t.Errorf("result %+v, %v", r, err)
	}
}
