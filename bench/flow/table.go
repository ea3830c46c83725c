package flow

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable compares the results with the first of them.
func WriteTable(out io.Writer, results []Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "path\tlive/s\t× first\tp50/p99 paced, ms\tdrain one per tx/s\t× first\tdrain 100 per tx/s\t× first\tlost\trepeated\t\n")
	first := &results[0]
	for i := range results {
		r := &results[i]
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.2f / %.2f\t%.0f\t%.2f\t%.0f\t%.2f\t%d\t%d\t\n", r.System, r.Live, r.Live/first.Live,
			r.P50, r.P99, r.DrainSingle, r.DrainSingle/first.DrainSingle, r.DrainMany, r.DrainMany/first.DrainMany, r.Lost, r.Repeated)
	}
	return w.Flush()
}
