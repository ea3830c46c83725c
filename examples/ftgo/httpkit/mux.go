package httpkit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// Handler answers a request, or returns a *[Problem] to answer with. Any other error is
// logged and answered with 500, without its text.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Mux routes requests. What no route takes, and a handler that panics, are answered with problems
// too. The request's W3C trace context goes on in what the handlers send.
type Mux struct {
	mux     http.ServeMux
	logger  *slog.Logger
	methods map[string][]string
}

// NewMux returns a router without routes.
func NewMux(logger *slog.Logger) *Mux {
	m := &Mux{logger: logger, methods: map[string][]string{}}
	m.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		NewProblem(http.StatusNotFound, "there is no %s", r.URL.Path).Write(w)
	})
	return m
}

// Handle adds a route. Routes are added before the first request.
func (m *Mux) Handle(method, path string, handle Handler) {
	if m.methods[path] == nil {
		m.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { m.notAllowed(w, r, path) })
	}
	m.methods[path] = append(m.methods[path], method)
	m.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			m.fail(w, r, err)
		}
	})
}

func (m *Mux) notAllowed(w http.ResponseWriter, r *http.Request, path string) {
	allowed := slices.Clone(m.methods[path])
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	NewProblem(http.StatusMethodNotAllowed, "%s is not one of %s", r.Method, strings.Join(allowed, ", ")).Write(w)
}

// ServeHTTP implements [http.Handler].
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer m.contain(w, r)
	if trace := traceOf(r); trace != (skald.Trace{}) {
		r = r.WithContext(skald.WithTrace(r.Context(), trace))
	}
	m.mux.ServeHTTP(w, r)
}

// contain answers for a handler that panicked; the cause is only logged.
func (m *Mux) contain(w http.ResponseWriter, r *http.Request) {
	switch cause := recover(); cause {
	case nil:
	case http.ErrAbortHandler:
		panic(cause)
	default:
		m.logger.ErrorContext(r.Context(), "handler panicked",
			"method", r.Method, "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
		internal().Write(w)
	}
}

func (m *Mux) fail(w http.ResponseWriter, r *http.Request, err error) {
	var problem *Problem
	switch {
	case errors.As(err, &problem):
		problem.Write(w)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, inbox.ErrStopped):
		// Either the client is gone, and reads nothing, or the service drains.
		w.Header().Set("Retry-After", "1")
		NewProblem(http.StatusServiceUnavailable, "the request was not finished in time; try again").Write(w)
	default:
		m.logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		internal().Write(w)
	}
}

func internal() *Problem {
	return NewProblem(http.StatusInternalServerError, "the request failed; it is logged")
}

// maxTraceState is what a receiver has to carry on at least (W3C Trace Context, 3.3.1.5).
const maxTraceState = 512

// traceOf reads the request's trace context; a malformed one is as good as none.
func traceOf(r *http.Request) skald.Trace {
	parent := r.Header.Get("Traceparent")
	if len(parent) != 55 || strings.Trim(parent, "0123456789abcdef-") != "" {
		return skald.Trace{}
	}
	state := r.Header.Get("Tracestate")
	if len(state) > maxTraceState || strings.ContainsFunc(state, func(c rune) bool { return c < ' ' || c > '~' }) {
		state = ""
	}
	return skald.Trace{Parent: parent, State: state}
}
