package skaldtest

import (
	"slices"
	"testing"

	"github.com/skald-go/skald/saga"
)

// BenchmarkSevenStepsWithAGroup explores a saga of seven steps with a parallel group and every fault.
func BenchmarkSevenStepsWithAGroup(b *testing.B) {
	d := parallelOrder()
	verify := saga.Compensatable[exploredOrder]{Name: "verify consumer", Do: exploredCall("verify-consumer", "consumers", "unknown")}
	d.Compensatable = slices.Insert(d.Compensatable, 1, verify)
	d.Retriable = slices.Insert(d.Retriable, 0, saga.Step[exploredOrder]{Name: "confirm ticket", Do: exploredCall("confirm-ticket", "kitchen", "gone")})
	for b.Loop() {
		explored := Explore(b, d, From(exploredOrder{Order: "1"}))
		b.ReportMetric(float64(explored.States), "states/op")
	}
}
