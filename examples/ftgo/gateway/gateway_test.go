package gateway

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

// named answers with its own name and what it was asked.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			httpkit.NewProblem(http.StatusBadRequest, "body: %v", err).Write(w)
			return
		}
		fmt.Fprintf(w, "%s %s %s %s %s", name, r.Method, r.URL.RequestURI(), r.Header.Get("Idempotency-Key"), body)
	})
}

func all(prefix string) map[string]http.Handler {
	handlers := map[string]http.Handler{}
	for _, name := range []string{Order, Consumer, Restaurant, Kitchen, Accounting} {
		handlers[name] = named(prefix + name)
	}
	return handlers
}

func newTestGateway(local map[string]http.Handler, peers Peers) *Gateway {
	return New(Config{Local: local, Peers: peers, Logger: slog.New(slog.DiscardHandler)})
}

func do(t *testing.T, h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Idempotency-Key", "k1")
	h.ServeHTTP(recorder, request)
	return recorder
}

func TestEachPathReachesItsOwner(t *testing.T) {
	t.Parallel()
	remoteServer := httptest.NewServer(newTestGateway(all("remote "), nil))
	defer remoteServer.Close()
	static := Static{}
	for name := range all("") {
		static[name] = remoteServer.URL
	}
	gateways := map[string]*Gateway{
		"":        newTestGateway(all(""), nil),
		"remote ": newTestGateway(nil, static),
	}
	cases := []struct{ method, path, body, owner string }{
		{"POST", "/v1/consumers", `{"name":"a"}`, Consumer},
		{"GET", "/v1/consumers/7", "", Consumer},
		{"GET", "/v1/consumers/7/account", "", Accounting},
		{"POST", "/v1/restaurants", "{}", Restaurant},
		{"PUT", "/v1/restaurants/7/menu", "{}", Restaurant},
		{"POST", "/v1/orders?a=b", "{}", Order},
		{"GET", "/v1/orders/7", "", Order},
		{"GET", "/v1/orders/7/events", "", Order},
		{"POST", "/v1/orders/7/cancel", "", Order},
		{"POST", "/v1/orders/7/revise", "{}", Order},
		{"GET", "/v1/tickets/7", "", Kitchen},
		{"POST", "/v1/tickets/7/picked-up", "", Kitchen},
	}
	for prefix, g := range gateways {
		for _, c := range cases {
			got := do(t, g, c.method, c.path, c.body)
			want := fmt.Sprintf("%s%s %s %s k1 %s", prefix, c.owner, c.method, c.path, c.body)
			if got.Code != http.StatusOK || got.Body.String() != want {
				t.Errorf("%s %s: %d %q, want %q", c.method, c.path, got.Code, got.Body, want)
			}
		}
	}
}

func TestWhatNobodyOwnsIsAProblem(t *testing.T) {
	t.Parallel()
	g := newTestGateway(all(""), Static{})
	cases := []struct {
		method, path, body string
		status             int
		allow              string
	}{
		{"GET", "/v1/nothing", "", 404, ""},
		{"GET", "/", "", 404, ""},
		{"DELETE", "/v1/orders/7", "", 405, "GET, HEAD"},
		{"GET", "/v1/tickets/7/accept", "", 405, "POST"},
		{"POST", "/v1/orders", strings.Repeat("x", httpkit.MaxBody+1), 413, ""},
	}
	for _, c := range cases {
		got := do(t, g, c.method, c.path, c.body)
		if got.Code != c.status || got.Header().Get("Content-Type") != "application/problem+json" || got.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, got.Code, got.Header(), got.Body)
		}
	}
}

func TestAServiceThatIsDownIsNamed(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(named("gone"))
	gone.Close()
	g := newTestGateway(nil, Static{Consumer: gone.URL})
	for path, name := range map[string]string{"/v1/consumers/7": Consumer, "/v1/tickets/7": Kitchen} {
		got := do(t, g, "GET", path, "")
		if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" || !strings.Contains(got.Body.String(), name) {
			t.Errorf("%s: %d %v %s", path, got.Code, got.Header(), got.Body)
		}
	}
}

// A process may die without removing its address, and another take its port.
func TestAStaleAddressIsAServiceThatIsDown(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(newTestGateway(map[string]http.Handler{Kitchen: named(Kitchen)}, nil))
	defer other.Close()
	got := do(t, newTestGateway(nil, Static{Consumer: other.URL}), "GET", "/v1/consumers/7", "")
	if got.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestAServiceIsFoundWhereItMovedTo(t *testing.T) {
	t.Parallel()
	folder := Folder(t.TempDir())
	g := newTestGateway(nil, Either{Static{}, folder})
	for _, name := range []string{"first ", "second "} {
		server := httptest.NewServer(newTestGateway(all(name), nil))
		if err := folder.Announce(Consumer, server.URL); err != nil {
			t.Fatal(err)
		}
		got := do(t, g, "POST", "/v1/consumers", "{}")
		if !strings.HasPrefix(got.Body.String(), name) {
			t.Errorf("%d %s, want %s", got.Code, got.Body, name)
		}
		server.Close()
		folder.Withdraw(Consumer, "http://127.0.0.1:1") // another's: left alone
		if address, ok := folder.Find(Consumer); !ok || address != server.URL {
			t.Errorf("announced %q %v, want %q", address, ok, server.URL)
		}
		folder.Withdraw(Consumer, server.URL)
	}
	if got := do(t, g, "POST", "/v1/consumers", "{}"); got.Code != http.StatusServiceUnavailable {
		t.Errorf("withdrawn, and still %d", got.Code)
	}
}

func TestAStreamIsNotBuffered(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	streaming := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 2 {
			fmt.Fprint(w, "data: {}\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
		}
	})
	owner := httptest.NewServer(newTestGateway(map[string]http.Handler{Order: streaming}, nil))
	defer owner.Close()
	front := httptest.NewServer(newTestGateway(nil, Static{Order: owner.URL}))
	defer front.Close()

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/v1/orders/7/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for range 2 { // the owner goes on only when the line before has arrived
		if line, err := lines.ReadString('\n'); err != nil || line != "data: {}\n" {
			t.Fatalf("%q, %v", line, err)
		}
		goOn <- struct{}{}
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://127.0.0.1:8080": "http://127.0.0.1:8080", "http://h:1/": "http://h:1",
		"127.0.0.1:8080": "", "ftp://h:1": "", "http://": "", "http://h/path": "", "": "",
	} {
		if got, err := ParseAddress(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}
