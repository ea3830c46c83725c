package main

import (
	"fmt"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/skald-go/skald/bench/createorder"
)

// draw writes the throughput by concurrency and the latency distribution as SVG.
func draw(dir string, r createorder.Result) error {
	sweep := make(plotter.XYs, 0, len(r.Concurrencies))
	for _, open := range r.Concurrencies {
		sweep = append(sweep, plotter.XY{X: float64(open), Y: r.Sweep[strconv.Itoa(open)]})
	}
	err := line(filepath.Join(dir, "createorder-throughput.svg"), "createOrder, "+r.System, "orders open at one time", "sagas per second", sweep)
	if err != nil {
		return err
	}
	latency := make(plotter.XYs, 0, 100)
	for percent := 1; percent < 100 && len(r.HalfLoad) > 0; percent++ {
		latency = append(latency, plotter.XY{X: float64(percent), Y: r.HalfLoad[percent*len(r.HalfLoad)/100]})
	}
	return line(filepath.Join(dir, "createorder-latency.svg"), fmt.Sprintf("createOrder, latency at half load (%.0f sagas/s)", r.HalfRate), "percent of sagas that ended sooner", "milliseconds", latency)
}

func line(file, title, x, y string, points plotter.XYs) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Y.Min = 0
	l, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	dots.Radius = vg.Points(1.5)
	p.Add(plotter.NewGrid(), l, dots)
	return p.Save(16*vg.Centimeter, 10*vg.Centimeter, file)
}
