// Package gateway is FTGO's public HTTP API: it knows which service owns which path, and
// hands each request to it, in this process or in another. It owns no data.
package gateway

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

// Config of a gateway.
type Config struct {
	// Local are the services of this process.
	Local map[string]http.Handler
	// Peers finds the services of other processes. Nil when this process answers for its own
	// services only, and does not know the paths of others.
	Peers Peers
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// Gateway is the handler of the public API.
type Gateway struct {
	mux    *http.ServeMux
	config Config
	remote map[string]*remote
}

// New makes a gateway.
func New(config Config) *Gateway {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	g := &Gateway{mux: http.NewServeMux(), config: config, remote: map[string]*remote{}}
	transport := newTransport()
	for _, r := range routes {
		if handler := g.owner(r.service, transport); handler != nil {
			g.mux.Handle(r.path, r.guard(handler))
		}
	}
	g.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		httpkit.NewProblem(http.StatusNotFound, "there is nothing at %.200s", r.URL.Path).Write(w)
	})
	return g
}

// owner is the handler of a service: itself, or the way to it; nil when there is neither.
func (g *Gateway) owner(service string, transport http.RoundTripper) http.Handler {
	if local, ok := g.config.Local[service]; ok {
		return local
	}
	if g.config.Peers == nil {
		return nil
	}
	if g.remote[service] == nil {
		g.remote[service] = newRemote(service, g.config.Peers, transport, g.config.Logger)
	}
	return g.remote[service]
}

// ServeHTTP implements [http.Handler]. A request that another gateway has handed on is for a
// service of this process or for none: an address file can outlive its process, and the
// port find a new owner.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if service := r.Header.Get(forwardedHeader); service != "" {
		if _, here := g.config.Local[service]; !here {
			unavailable(w, service)
			return
		}
	}
	g.mux.ServeHTTP(w, r)
}

// guard lets through what the owner can handle: the path's methods, and bodies of a
// bounded size.
func (r route) guard(owner http.Handler) http.Handler {
	allow := strings.Join(r.methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !slices.Contains(r.methods, request.Method) {
			w.Header().Set("Allow", allow)
			httpkit.NewProblem(http.StatusMethodNotAllowed, "%.20s is not one of %s", request.Method, allow).Write(w)
			return
		}
		if request.ContentLength > httpkit.MaxBody {
			httpkit.NewProblem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", httpkit.MaxBody).Write(w)
			return
		}
		owner.ServeHTTP(w, request)
	})
}
