package throughput

import "testing"

func TestEveryMessageGoesThroughEveryPart(t *testing.T) {
	r, err := Run(t.Context(), 1500, func(string, int, int) {})
	if err != nil || r.Handled != 1500 || r.Add == 0 || r.Relay == 0 || r.Inbox == 0 {
		t.Errorf("result %+v, %v", r, err)
	}
}
