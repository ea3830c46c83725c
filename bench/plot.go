package main

import (
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/skald-go/skald/bench/createorder"
)

// draw writes the throughput by concurrency and the latency distribution as SVG.
func draw(dir, store string, results []createorder.Result) error {
	prefix := "createorder-"
	if store != createorder.SQLite {
		prefix += store + "-"
	}
	throughput, latency := plot.New(), plot.New()
	throughput.Title.Text, throughput.X.Label.Text, throughput.Y.Label.Text = "createOrder", "orders open at one time", "sagas per second"
	latency.Title.Text, latency.X.Label.Text, latency.Y.Label.Text = "createOrder at half load", "percent of sagas that ended sooner", "milliseconds"
	for i := range results {
		r := &results[i]
		if err := line(throughput, i, r.System, byConcurrency(r)); err != nil {
			return err
		}
		if err := line(latency, i, r.System+", "+strconv.Itoa(int(r.HalfRate))+"/s", byPercent(r)); err != nil {
			return err
		}
	}
	if err := save(throughput, filepath.Join(dir, prefix+"throughput.svg")); err != nil {
		return err
	}
	return save(latency, filepath.Join(dir, prefix+"latency.svg"))
}

func byConcurrency(r *createorder.Result) plotter.XYs {
	points := make(plotter.XYs, 0, len(r.Concurrencies))
	for _, open := range r.Concurrencies {
		points = append(points, plotter.XY{X: float64(open), Y: r.Sweep[strconv.Itoa(open)]})
	}
	return points
}

func byPercent(r *createorder.Result) plotter.XYs {
	points := make(plotter.XYs, 0, 100)
	for percent := 1; percent < 100 && len(r.HalfLoad) > 0; percent++ {
		points = append(points, plotter.XY{X: float64(percent), Y: r.HalfLoad[percent*len(r.HalfLoad)/100]})
	}
	return points
}

func line(p *plot.Plot, i int, name string, points plotter.XYs) error {
	l, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	l.Color, dots.Color, dots.Radius = plotutil.Color(i), plotutil.Color(i), vg.Points(1.5)
	p.Add(l, dots)
	p.Legend.Add(name, l)
	return nil
}

func save(p *plot.Plot, file string) error {
	p.Y.Min, p.Legend.Top, p.Legend.Left = 0, true, true
	p.Add(plotter.NewGrid())
	return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
}
