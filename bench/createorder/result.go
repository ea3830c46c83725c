package createorder

import (
	"math"
	"slices"
	"time"
)

// Result is one JSON line. Latencies are in milliseconds, CPU times in seconds.
type Result struct {
	System         string             `json:"system"`
	Versions       string             `json:"versions"`
	Sweep          map[string]float64 `json:"sagas_per_s_by_concurrency"`
	Best           int                `json:"best_concurrency"`
	Happy          float64            `json:"happy_sagas_per_s"`
	HappyAll       []float64          `json:"happy_runs"`
	FullP50        float64            `json:"happy_full_load_p50_ms"`
	FullP99        float64            `json:"happy_full_load_p99_ms"`
	Mixed          float64            `json:"decline10_sagas_per_s"`
	MixedAll       []float64          `json:"decline10_runs"`
	HalfRate       float64            `json:"half_load_offered_per_s"`
	HalfP50        float64            `json:"half_load_p50_ms"`
	HalfP99        float64            `json:"half_load_p99_ms"`
	HalfP99All     []float64          `json:"half_load_p99_runs"`
	LightP50       float64            `json:"one_at_a_time_p50_ms"`
	PeakMiB        float64            `json:"app_peak_rss_mib"`
	CPUMachine     float64            `json:"cpu_s_per_1000_all"`
	CPUSelf        float64            `json:"cpu_s_per_1000_app"`
	CPUServer      float64            `json:"cpu_s_per_1000_postgres"`
	LogPerSaga     float64            `json:"pg_wal_kib_per_saga"`
	CommitsPerSaga float64            `json:"pg_commits_per_saga"`
	Checked        int64              `json:"sagas_verified"`
	NotTerminal    int64              `json:"not_terminal"`
	Wrong          int64              `json:"wrong"`
	Duplicates     int64              `json:"duplicate_executions"`
	Locked         int64              `json:"locks_left"`
	Errors         int64              `json:"errors"`
	FirstError     string             `json:"first_error,omitempty"`
	OK             bool               `json:"verified_ok"`
	HalfLoad       []float64          `json:"-"` // every latency at half load, sorted
	Concurrencies  []int              `json:"-"`
}

// settle makes the figures of repeated windows into medians.
func (r *Result) settle(happy, half, mixed []window) {
	of := func(all []window, f func(w *window) float64) (list []float64) {
		for i := range all {
			list = append(list, round(f(&all[i])))
		}
		return list
	}
	median := func(f func(w *window) float64) float64 { return medianOf(of(happy, f)) }
	perSecond := func(w *window) float64 { return w.perSecond }
	p50, p99 := func(w *window) float64 { return w.quantile(0.5) }, func(w *window) float64 { return w.quantile(0.99) }
	r.HappyAll, r.MixedAll, r.HalfP99All = of(happy, perSecond), of(mixed, perSecond), of(half, p99)
	r.Happy, r.FullP50, r.FullP99 = median(perSecond), median(p50), median(p99)
	r.Mixed, r.HalfP50, r.HalfP99 = medianOf(r.MixedAll), medianOf(of(half, p50)), medianOf(r.HalfP99All)
	r.CPUMachine = median(func(w *window) float64 { return w.used.Machine })
	r.CPUSelf = median(func(w *window) float64 { return w.used.Self })
	r.CPUServer = median(func(w *window) float64 { return w.used.Server })
	r.LogPerSaga = median(func(w *window) float64 { return w.used.log / 1024 / 1000 })
	r.CommitsPerSaga = median(func(w *window) float64 { return w.used.commits / 1000 })
	for i := range half {
		for _, l := range half[i].latencies {
			r.HalfLoad = append(r.HalfLoad, milliseconds(l))
		}
	}
	slices.Sort(r.HalfLoad)
}

func medianOf(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// round keeps three digits behind the point, and none of a figure above 100.
func round(x float64) float64 {
	if math.Abs(x) >= 100 {
		return math.Round(x)
	}
	return math.Round(x*1000) / 1000
}
