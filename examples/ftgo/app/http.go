package app

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/skald-go/skald/examples/ftgo/gateway"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

// bodyTimeout bounds how long a client may take to send a request's body.
const bodyTimeout = 30 * time.Second

// handler serves health and figures of the process, and its services' paths: all public
// ones when the gateway is among them.
func (a *App) handler() http.Handler {
	local := map[string]http.Handler{}
	for _, p := range a.parts {
		local[p.name] = p.handler
	}
	config := gateway.Config{Local: local, Logger: a.logger}
	if slices.Contains(a.config.Services, Gateway) {
		config.Peers = gateway.Either{gateway.Static(a.config.Peers), gateway.Folder(a.config.Data)}
	}
	mux := http.NewServeMux()
	probe(mux, "/healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "alive\n") })
	probe(mux, "/readyz", a.readyz)
	probe(mux, "/metrics", a.metrics)
	mux.Handle("/", a.bounded(gateway.New(config)))
	return mux
}

// probe adds a path that is only read.
func probe(mux *http.ServeMux, path string, handle http.HandlerFunc) {
	mux.HandleFunc("GET "+path, handle)
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", "GET, HEAD")
		httpkit.NewProblem(http.StatusMethodNotAllowed, "%.20s is not one of GET, HEAD", r.Method).Write(w)
	})
}

// bounded ends bodies that take too long, and streams when the process drains.
func (a *App) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// A connection without deadlines is one of a test.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		a.streams.serve(next, w, r)
	})
}

// readyz says whether requests should be sent here.
func (a *App) readyz(w http.ResponseWriter, r *http.Request) {
	if a.draining.Load() {
		plain(w, http.StatusServiceUnavailable, "draining\n")
		return
	}
	var waiting []string
	for _, p := range a.parts {
		health, err := p.service.Health(r.Context())
		switch {
		case err != nil:
			a.logger.Warn("health not read", "service", p.name, "error", err)
			waiting = append(waiting, p.name+": its database does not answer")
		case !health.Ready:
			waiting = append(waiting, p.name+": not ready")
		}
	}
	if len(waiting) > 0 {
		plain(w, http.StatusServiceUnavailable, strings.Join(waiting, "\n")+"\n")
		return
	}
	plain(w, http.StatusOK, "ready\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}
