package createorder

import (
	"testing"
	"time"
)

func TestABenchmarkVerifiesWhatItRan(t *testing.T) {
	phases := 0
	r, err := Run(t.Context(), Options{
		Concurrency: []int{4}, Warm: 50 * time.Millisecond, For: 500 * time.Millisecond,
		Report: func(string, int, int) { phases++ },
	})
	if err != nil || !r.OK || r.Checked == 0 || phases == 0 {
		t.Errorf("result %+v, %v, %d phases", r, err, phases)
	}
}

func TestTheVerificationFindsADisagreement(t *testing.T) {
	for name, fault := range map[string][2]string{
		"an order that is not decided": {"order", `UPDATE orders SET state = 'APPROVAL_PENDING'`},
		"a ticket that disagrees":      {"kitchen", `UPDATE tickets SET state = 'CREATE_REJECTED'`},
		"a step that ran twice":        {"kitchen", `UPDATE tickets SET n5 = n5 + 1`},
		"money that is off":            {"accounting", `UPDATE accounts SET balance = balance - 1 WHERE id = 5`},
	} {
		s, err := start(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		d := &driver{system: s}
		d.one(t.Context(), false)
		before, err := s.verify(t.Context())
		if err != nil || before != (verdict{Orders: 1}) {
			t.Errorf("before the fault: %+v, %v", before, err)
		}
		if _, err := s.stores[fault[0]].DB().ExecContext(t.Context(), fault[1]); err != nil {
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
