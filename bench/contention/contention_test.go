package contention

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skald-go/skald/internal/servers"
)

// The server that tests share, where this process has to start it, ends with the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/skald-go/skald/internal/servers.(*process).wait"))
}

func TestSagasThatWantTheSameLocksAllEnd(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	ended := 0
	results, err := Run(t.Context(), Options{Sagas: 24, Open: 16, Repetitions: 1, Patience: time.Minute, Report: func(_ string, done, _ int) { ended = max(ended, done) }})
	if err != nil || len(results) != len(scenarios) || ended != 24 {
		t.Fatalf("%d results, %d ended, %v", len(results), ended, err)
	}
	for _, r := range results {
		if !r.OK || r.PerSecond == 0 || r.Alone == 0 || r.Longest < r.P50 || r.Share == 0 || r.MostAgain == 0 {
			t.Errorf("result %+v", r)
		}
	}
}

func TestAResultIsWrongWhereSomethingIsAmiss(t *testing.T) {
	for name, fault := range map[string]run{
		"a saga that has not ended": {notEnded: 1}, "a lost update": {wrong: 1}, "a lock that is left": {locked: 1}, "a message that is held": {held: 1},
	} {
		fault.elapsed = time.Second
		var r Result
		if r.settle([]run{{elapsed: time.Second}, fault}); r.OK {
			t.Errorf("%s: %+v", name, r)
		}
		var fine Result
		if fine.settle([]run{{elapsed: time.Second}}); !fine.OK {
			t.Errorf("nothing is amiss: %+v", fine)
		}
	}
}
