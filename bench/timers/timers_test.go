package timers

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/skald-go/skald/internal/servers"
)

// The server that tests share, where this process has to start it, ends with the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/skald-go/skald/internal/servers.(*process).wait"))
}

// Faults: 72.
func TestDeadlinesOfOneSecondFireOnceEachOnPostgreSQL(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	r, err := Run(t.Context(), Options{Sagas: 3000, Others: 1000, Report: func(string, int, int) {}})
	if err != nil || !r.OK || r.Rate == 0 {
		t.Errorf("result %+v, %v", r, err)
	}
}
