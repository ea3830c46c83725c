package contention

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// settle makes the figures of repetitions into medians, and adds up what went wrong.
func (r *Result) settle(runs []run) {
	of := func(f func(run *run) float64) (list []float64) {
		for i := range runs {
			list = append(list, round(f(&runs[i])))
		}
		return list
	}
	median := func(list []float64) float64 {
		list = slices.Sorted(slices.Values(list))
		return list[len(list)/2]
	}
	r.All = of(func(run *run) float64 { return float64(len(run.latencies)) / run.elapsed.Seconds() })
	r.PerSecond = median(r.All)
	r.Alone = median(of(func(run *run) float64 { return quantile(run.alone, 0.5) }))
	r.Elapsed = median(of(func(run *run) float64 { return run.elapsed.Seconds() }))
	r.P50 = median(of(func(run *run) float64 { return quantile(run.latencies, 0.5) }))
	r.Longest = median(of(func(run *run) float64 { return quantile(run.latencies, 1) }))
	r.Share = median(of(func(run *run) float64 { return share(run.again, func(n int) int { return min(n, 1) }) }))
	r.Again = median(of(func(run *run) float64 { return share(run.again, func(n int) int { return n }) }))
	for i := range runs {
		run := &runs[i]
		r.MostAgain = max(r.MostAgain, slices.Max(append(run.again, 0)))
		r.NotEnded, r.Wrong, r.Locked, r.Held = r.NotEnded+run.notEnded, r.Wrong+run.wrong, r.Locked+run.locked, r.Held+run.held
		if r.Fault == "" && run.fault != nil {
			r.Fault = run.fault.Error()
		}
	}
	r.OK = r.NotEnded+r.Wrong+r.Locked+r.Held == 0
}

func share(list []int, f func(int) int) float64 {
	sum := 0
	for _, n := range list {
		sum += f(n)
	}
	return float64(sum) / float64(max(len(list), 1))
}

func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / float64(time.Millisecond)
}

// round keeps three digits behind the point, and none of a figure above 100.
func round(x float64) float64 {
	if math.Abs(x) >= 100 {
		return math.Round(x)
	}
	return math.Round(x*1000) / 1000
}

// WriteTable writes the results for people.
func WriteTable(out io.Writer, results []Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "scenario\tsagas\talone, ms\tsagas/s\tall ended after, s\tp50, ms\tlongest, ms\tstarted again\tper saga\tat most\tok\t\n")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f%%\t%.2f\t%d\t%v\t\n", r.Scenario, r.Sagas, r.Alone, r.PerSecond, r.Elapsed, r.P50, r.Longest,
			100*r.Share, r.Again, r.MostAgain, r.OK)
	}
	return w.Flush()
}
