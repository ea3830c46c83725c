package app

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/skald-go/skald/service"
)

// figure is a metric with one value for each service.
type figure struct {
	name, help string
	value      func(service.Health) float64
}

var figures = []figure{
	{"skald_ready", "1 when the service handles messages.", func(h service.Health) float64 { return one(h.Ready) }},
	{"skald_relay_lag_messages", "Messages in the outbox that are not settled yet.", func(h service.Health) float64 { return float64(h.Lag.Messages) }},
	{"skald_relay_lag_seconds", "Age of the oldest message in the outbox that is not settled yet.", func(h service.Health) float64 { return h.Lag.Age.Seconds() }},
	{"skald_held_messages", "Received messages that wait for another attempt, behind another message, or for an operator.", func(h service.Health) float64 { return float64(h.Held) }},
	{"skald_parked_messages", "Received messages that wait for an operator.", func(h service.Health) float64 { return float64(h.Parked) }},
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// metrics writes the figures in Prometheus' text format. A service whose database does not
// answer is left out, and counted.
func (a *App) metrics(w http.ResponseWriter, r *http.Request) {
	healths := make(map[string]service.Health, len(a.parts))
	unreadable := 0
	for _, p := range a.parts {
		health, err := p.service.Health(r.Context())
		if err != nil {
			a.logger.Warn("health not read", "service", p.name, "error", err)
			unreadable++
			continue
		}
		healths[p.name] = health
	}
	var text bytes.Buffer
	for _, f := range figures {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s gauge\n", f.name, f.help, f.name)
		for _, p := range a.parts {
			if health, ok := healths[p.name]; ok {
				fmt.Fprintf(&text, "%s{service=%q} %g\n", f.name, p.name, f.value(health))
			}
		}
	}
	fmt.Fprintf(&text, "# HELP ftgo_unreadable_services Services whose figures could not be read.\n# TYPE ftgo_unreadable_services gauge\nftgo_unreadable_services %d\n", unreadable)
	fmt.Fprintf(&text, "# HELP ftgo_draining 1 when the process drains.\n# TYPE ftgo_draining gauge\nftgo_draining %g\n", one(a.draining.Load()))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // the client is gone: nobody to tell
}
