package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

// forwardedHeader marks a request that a gateway has handed on, with the service's name.
const forwardedHeader = "Ftgo-Forwarded-To"

const retryAfter = "1" // seconds

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   512,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: 15 * time.Second, // a create waits up to 2 s for replicas
		DisableCompression:    true,
	}
}

// remote is the way to a service in another process.
type remote struct {
	service   string
	peers     Peers
	transport http.RoundTripper
	proxy     *httputil.ReverseProxy
	logger    *slog.Logger
	// address that answered last; looked up again when it fails.
	address atomic.Pointer[url.URL]
}

func newRemote(service string, peers Peers, transport http.RoundTripper, logger *slog.Logger) *remote {
	r := &remote{service: service, peers: peers, transport: transport, logger: logger}
	r.proxy = &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetXForwarded()
			p.Out.Header.Set(forwardedHeader, service)
		},
		Transport:    r,
		ErrorHandler: r.failed,
		ErrorLog:     slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return r
}

// ServeHTTP implements [http.Handler]. The body is read first, so that the request can go
// to a second address when the first does not answer.
func (r *remote) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, httpkit.MaxBody))
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		httpkit.NewProblem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooLong.Limit).Write(w)
		return
	}
	if err != nil {
		httpkit.NewProblem(http.StatusBadRequest, "the body ends too early or cannot be read").Write(w)
		return
	}
	request.Body, request.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		request.Body, _ = request.GetBody()
	}
	r.proxy.ServeHTTP(w, request)
}

// errDown says that the service is not known to run anywhere.
var errDown = errors.New("no process announces it")

// RoundTrip implements [http.RoundTripper]: it sends the request to where the service is. A
// connection that cannot be made has sent nothing, so the address is looked up again and,
// when it is a new one, tried.
func (r *remote) RoundTrip(request *http.Request) (*http.Response, error) {
	address := r.address.Load()
	if address != nil {
		response, err := r.send(request, address)
		if err == nil || !neverSent(err) {
			return response, err
		}
	}
	found, ok := r.peers.Find(r.service)
	if !ok {
		r.address.Store(nil)
		return nil, errDown
	}
	fresh, err := url.Parse(found)
	if err != nil {
		return nil, err
	}
	response, err := r.send(request, fresh)
	if err != nil {
		r.address.Store(nil)
		return nil, err
	}
	r.address.Store(fresh)
	return response, nil
}

func (r *remote) send(request *http.Request, to *url.URL) (*http.Response, error) {
	out := request.Clone(request.Context())
	out.URL.Scheme, out.URL.Host, out.Host = to.Scheme, to.Host, to.Host
	if request.GetBody != nil {
		body, err := request.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = body
	}
	return r.transport.RoundTrip(out)
}

func neverSent(err error) bool {
	operation := new(net.OpError)
	return errors.As(err, &operation) && operation.Op == "dial"
}

func (r *remote) failed(w http.ResponseWriter, request *http.Request, err error) {
	if errors.Is(err, context.Canceled) && request.Context().Err() != nil {
		return // nobody waits for the answer any more
	}
	r.logger.Warn("service not reached", "service", r.service, "error", err)
	unavailable(w, r.service)
}

func unavailable(w http.ResponseWriter, service string) {
	w.Header().Set("Retry-After", retryAfter)
	httpkit.NewProblem(http.StatusServiceUnavailable, "the %.50s service does not answer; try again", service).Write(w)
}
