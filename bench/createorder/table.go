package createorder

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// WriteTable compares the results with the first of them.
func WriteTable(out io.Writer, results []Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "system\tsagas/s\t× first\topen\t")
	for _, open := range results[0].Concurrencies {
		fmt.Fprintf(w, "at %d\t", open)
	}
	fmt.Fprint(w, "declined\tp50/p99 at half load, ms\talone, ms\tCPU s/1,000: all\tapp\tapp+server\tcommits\tWAL KiB\tRSS MiB\tverified\t\n")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%d\t", r.System, r.Happy, r.Happy/results[0].Happy, r.Best)
		for _, open := range r.Concurrencies {
			fmt.Fprintf(w, "%.0f\t", r.Sweep[strconv.Itoa(open)])
		}
		fmt.Fprintf(w, "%.0f\t%.1f / %.1f\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%v\t\n", r.Mixed, r.HalfP50, r.HalfP99, r.LightP50,
			r.CPUMachine, r.CPUSelf, r.CPUSelf+r.CPUServer, r.CommitsPerSaga, r.LogPerSaga, r.PeakMiB, r.OK)
	}
	return w.Flush()
}
