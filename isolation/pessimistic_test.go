package isolation_test

import (
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/isolation"
	"github.com/skald-go/skald/saga"
)

func TestAReportSaysWhetherThereIsABetterOrder(t *testing.T) {
	type state struct{}
	call := func(name string) saga.CallAction[state, state] {
		return saga.Call(skald.Command[state, state]{Name: name, Channel: "others"}, func(s state) state { return s })
	}
	definition := saga.Definition[state]{
		Name: "seats.book", Version: 3,
		Compensatable: []saga.Compensatable[state]{
			{Name: "take seat", Do: call("take"), Lowers: []skald.Resource{"airline.seat"}},
			{Name: "check guest", Do: call("check"), Reads: []skald.Resource{"hotel.guest"}},
		},
		Pivot: saga.Step[state]{Name: "charge", Do: call("charge"), Lowers: []skald.Resource{"bank.account"}},
	}
	report, err := isolation.Review(definition)
	if err != nil {
		t.Fatal(err)
	}
	if text := report.String(); report.Best() || !strings.Contains(text, `better:   "check guest", "take seat", the pivot "charge"`) {
		t.Errorf("%s", text)
	}
	first := &definition.Compensatable[0]
	*first, definition.Compensatable[1] = definition.Compensatable[1], *first
	if report, err = isolation.Review(definition); err != nil || !report.Best() || strings.Contains(report.String(), "better") {
		t.Errorf("%v %s", err, report)
	}
	definition.Name = ""
	if _, err := isolation.Review(definition); err == nil {
		t.Error("a definition without a name was reviewed")
	}
}
