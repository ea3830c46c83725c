package httpkit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/httpkit"
)

type item struct {
	Name     string `json:"name"`
	Quantity int    `json:"quantity"`
}

type body struct {
	Items []item `json:"items"`
}

func problemOf(t *testing.T, answer *httptest.ResponseRecorder) httpkit.Problem {
	t.Helper()
	if got := answer.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	var p httpkit.Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v: %s", err, answer.Body)
	}
	if p.Status != answer.Code {
		t.Errorf("the problem says %d, the answer %d", p.Status, answer.Code)
	}
	return p
}

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		status int
		field  string
	}{
		"good":                 {`{"items":[{"name":"soup","quantity":1}],"unknown":{"ignored":true}}`, 200, ""},
		"empty":                {``, 400, ""},
		"cut short":            {`{"items":[`, 400, ""},
		"not JSON":             {`items=soup`, 400, ""},
		"two values":           {`{} {}`, 400, ""},
		"garbage behind":       {`{} x`, 400, ""},
		"an array":             {`[]`, 422, "body"},
		"a string":             {`"soup"`, 422, "body"},
		"a text quantity":      {`{"items":[{"quantity":"1"}]}`, 422, "items.quantity"},
		"a broken quantity":    {`{"items":[{"quantity":1.5}]}`, 422, "items.quantity"},
		"an enormous number":   {`{"items":[{"quantity":1e400}]}`, 422, "items.quantity"},
		"a numeric name":       {`{"items":[{"name":7}]}`, 422, "items.name"},
		"an object for a list": {`{"items":{}}`, 422, "items"},
		"too large":            {`{"items":[{"name":"` + strings.Repeat("x", httpkit.MaxBody) + `"}]}`, 413, ""},
		"too large behind":     {`{}` + strings.Repeat(" ", httpkit.MaxBody), 413, ""},
		"deeply nested":        {strings.Repeat("[", 100_000), 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			mux := httpkit.NewMux(slog.New(slog.DiscardHandler))
			mux.Handle(http.MethodPost, "/things", func(w http.ResponseWriter, r *http.Request) error {
				var b body
				if err := httpkit.Decode(w, r, &b); err != nil {
					return err
				}
				return httpkit.Reply(w, http.StatusOK, b)
			})
			answer := httptest.NewRecorder()
			mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/things", strings.NewReader(test.body)))
			if answer.Code != test.status {
				t.Fatalf("got %d %s, want %d", answer.Code, answer.Body, test.status)
			}
			if test.status == http.StatusOK {
				return
			}
			p := problemOf(t, answer)
			if test.field == "" && len(p.Errors) == 0 {
				return
			}
			if len(p.Errors) != 1 || p.Errors[0].Field != test.field {
				t.Errorf("errors %+v, want the field %q", p.Errors, test.field)
			}
		})
	}
}

func TestEveryAnswerOfTheMuxIsAProblem(t *testing.T) {
	var log bytes.Buffer
	mux := httpkit.NewMux(slog.New(slog.NewTextHandler(&log, nil)))
	ok := func(w http.ResponseWriter, _ *http.Request) error { return httpkit.Reply(w, http.StatusOK, "ok") }
	mux.Handle(http.MethodGet, "/things/{id}", ok)
	mux.Handle(http.MethodPut, "/things/{id}", ok)
	mux.Handle(http.MethodGet, "/panics", func(http.ResponseWriter, *http.Request) error { panic("secret") })
	mux.Handle(http.MethodGet, "/fails", func(http.ResponseWriter, *http.Request) error { return errors.New("secret") })
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/nothing", 404},
		{http.MethodGet, "/things/1/more", 404},
		{http.MethodDelete, "/things/1", 405},
		{http.MethodGet, "/panics", 500},
		{http.MethodGet, "/fails", 500},
	} {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil))
		if answer.Code != test.status {
			t.Errorf("%s %s: %d", test.method, test.path, answer.Code)
		}
		problemOf(t, answer)
		if strings.Contains(answer.Body.String(), "secret") || strings.Contains(answer.Body.String(), ".go") {
			t.Errorf("%s %s tells too much: %s", test.method, test.path, answer.Body)
		}
		if allow := answer.Header().Get("Allow"); test.status == 405 && allow != "GET, HEAD, PUT" {
			t.Errorf("Allow is %q", allow)
		}
	}
	if n := strings.Count(log.String(), "secret"); n < 2 {
		t.Errorf("the faults are not logged: %s", &log)
	}
}

func TestTheTraceGoesOnAndAMalformedOneDoesNot(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, test := range []struct {
		parent, state string
		want          skald.Trace
	}{
		{parent, "vendor=1", skald.Trace{Parent: parent, State: "vendor=1"}},
		{parent, strings.Repeat("x", 600), skald.Trace{Parent: parent}},
		{"nonsense", "vendor=1", skald.Trace{}},
		{"", "", skald.Trace{}},
	} {
		var got skald.Trace
		mux := httpkit.NewMux(slog.New(slog.DiscardHandler))
		mux.Handle(http.MethodGet, "/{$}", func(_ http.ResponseWriter, r *http.Request) error {
			got = skald.TraceFrom(r.Context())
			return nil
		})
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		request.Header.Set("Traceparent", test.parent)
		request.Header.Set("Tracestate", test.state)
		mux.ServeHTTP(httptest.NewRecorder(), request)
		if got != test.want {
			t.Errorf("%q, %q: got %+v", test.parent, test.state, got)
		}
	}
}

func TestFieldsAreBounded(t *testing.T) {
	var fields httpkit.Fields
	if err := fields.Err(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		fields.Text("name", "", 10)
	}
	var p *httpkit.Problem
	if err := fields.Err(); !errors.As(err, &p) || len(p.Errors) > 100 || p.Status != 422 {
		t.Errorf("got %v", err)
	}
}
