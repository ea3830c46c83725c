package createorder

import (
	"testing"
	"time"

	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/lock"
)

func TestABenchmarkVerifiesWhatItRan(t *testing.T) {
	for store, systems := range map[string]int{SQLite: 1, PostgreSQL: 9} {
		t.Run(store, func(t *testing.T) {
			if store == PostgreSQL {
				servers.PostgreSQL(t) // skips, or fails, where there are no servers
			}
			phases := 0
			results, err := Run(t.Context(), Options{
				Store: store, Style: map[string]string{PostgreSQL: AllStyles}[store], Floor: true, Concurrency: []int{4}, Repetitions: 1, Warm: 50 * time.Millisecond, For: 500 * time.Millisecond,
				Report: func(string, int, int) { phases++ },
			})
			if err != nil || len(results) != systems || phases == 0 {
				t.Fatalf("%d results, %d phases, %v", len(results), phases, err)
			}
			for _, r := range results {
				if !r.OK || r.Checked == 0 || r.Happy == 0 || r.Mixed == 0 || len(r.HalfLoad) == 0 {
					t.Errorf("result %+v", r)
				}
			}
		})
	}
}

func TestAStyleThatIsNotMeasuredIsRefused(t *testing.T) {
	for _, o := range []Options{{Store: PostgreSQL, Style: "improvisation"}, {Store: SQLite, Style: Choreography}} {
		if results, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v: %+v", o, results)
		}
	}
}

func TestTheVerificationFindsADisagreement(t *testing.T) {
	for name, fault := range map[string][2]string{
		"an order that is not decided": {"order", `UPDATE orders SET state = 'APPROVAL_PENDING'`},
		"a ticket that disagrees":      {"kitchen", `UPDATE tickets SET state = 'CREATE_REJECTED'`},
		"a step that ran twice":        {"kitchen", `UPDATE tickets SET n5 = n5 + 1`},
		"money that is off":            {"accounting", `UPDATE accounts SET balance = balance - 1 WHERE id = 5`},
		"a lock that is left": {"kitchen", `INSERT INTO skald_locks (resource, key, root, place, round, saga, name, step, uses, grp, message, since)
VALUES ('bench.ticket', '1', x'01900000000070008000000000000001', 1, 0, x'01900000000070008000000000000001', 'bench', 'create', 1, '', NULL, 0)`},
	} {
		s, err := startSQLite(t.Context(), t.TempDir(), form{style: Orchestration})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		d := &driver{system: s}
		d.one(t.Context(), false)
		before, err := s.verify(t.Context())
		if err != nil || before != (verdict{Orders: 1}) {
			t.Errorf("before the fault: %+v, %v", before, err)
		}
		if _, err := s.databases[fault[0]].ExecContext(t.Context(), fault[1]); err != nil {
			t.Fatal(err)
		}
		if after, err := s.verify(t.Context()); err != nil || after == before {
			t.Errorf("%s was not found: %+v, %v", name, after, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLocksAreComparedWithNone(t *testing.T) {
	servers.PostgreSQL(t) // skips, or fails, where there are no servers
	for _, handlers := range []string{Batch, Plain} {
		results, err := CompareLocks(t.Context(), Options{
			Handlers: handlers, Concurrency: []int{4}, Repetitions: 2, Warm: 50 * time.Millisecond, For: 300 * time.Millisecond, Report: func(string, int, int) {},
		}, lock.Refuse, lock.Wait)
		if err != nil || len(results) != 3 {
			t.Fatalf("%d results, %v", len(results), err)
		}
		for i, r := range results {
			if !r.OK || r.Checked == 0 || r.PerSecond["4"] == 0 || len(r.Runs["4"]) != 2 || i > 0 != (r.PerSecondRatio["4"] > 0) || i > 0 != (r.AloneRatio > 0) {
				t.Errorf("result %+v", r)
			}
		}
	}
}
