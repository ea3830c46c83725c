package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald/examples/ftgo/app"
)

// patience bounds what a test waits for, the bar of a pivot among it.
const patience = time.Minute

// process is an application that runs.
type process struct {
	*app.App

	style string // in which its shops' orders are placed; the default when empty

	stop func() error // drains and closes; what it returns is what Run returned
}

// start runs the named services on a data folder, all when none is named, until the test's end.
func start(t *testing.T, data string, services ...string) process {
	t.Helper()
	return startWith(t, app.Config{Data: data, Services: services})
}

// startWith is start with a configuration, except for address and logger.
func startWith(t *testing.T, config app.Config) process {
	t.Helper()
	config.Addr, config.Logger = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	opened, err := app.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- opened.Run(ctx) }()
	p := process{App: opened}
	stopped := false
	p.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return errors.Join(<-ended, opened.Close())
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("drain: %v", err)
		}
	})
	return p
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// field is a string of the answer's JSON object.
func (a answer) field(name string) string {
	var object map[string]any
	if err := json.Unmarshal(a.body, &object); err != nil {
		return ""
	}
	text, _ := object[name].(string)
	return text
}

// fields are those that a problem names.
func (a answer) fields() []string {
	var problem struct {
		Errors []struct {
			Field string `json:"field"`
		} `json:"errors"`
	}
	_ = json.Unmarshal(a.body, &problem)
	names := []string{}
	for _, e := range problem.Errors {
		names = append(names, e.Field)
	}
	return names
}

// send makes a request; header is name, value, name, value.
func (p process) send(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		request.Header.Set(pair[0], pair[1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, read}
}

// want is send, and fails the test unless the status is as expected.
func (p process) want(t *testing.T, status int, method, path, body string, header ...string) answer {
	t.Helper()
	got := p.send(t, method, path, body, header...)
	if got.status != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, got.status, status, got.body)
	}
	return got
}

const (
	restaurantBody = `{"name":"Skald's","minimumOrder":"5.00","zones":["centre"],"menu":[{"id":"pie","name":"Pie","price":"12.50"},{"id":"skyr","name":"Skyr","price":"4.90"}]}`
	orderOfPies    = `{"consumerId":"CONSUMER","restaurantId":"RESTAURANT","deliveryAddress":{"zone":"centre","street":"Harbour Road 7"},"lineItems":[{"menuItemId":"pie","quantity":2}]}`
)

// in is the process, whose shops order in a style.
func (p process) in(style string) process {
	p.style = style
	return p
}

// shop is a consumer and a restaurant.
type shop struct{ consumer, restaurant, style string }

func (p process) shop(t *testing.T, creditLimit string) shop {
	t.Helper()
	s := shop{
		consumer:   p.want(t, 201, "POST", "/v1/consumers", `{"name":"Ada","creditLimit":"`+creditLimit+`"}`).field("id"),
		restaurant: p.want(t, 201, "POST", "/v1/restaurants", restaurantBody).field("id"),
		style:      p.style,
	}
	nothing := strings.Replace(s.order(orderOfPies), `"pie"`, `"no such dish"`, 1)
	eventually(t, "orders of a new shop", func() bool { // a request waits two seconds for replicas, and the machine may be busy
		fields := p.send(t, "POST", "/v1/orders", nothing).fields()
		return !slices.Contains(fields, "consumerId") && !slices.Contains(fields, "restaurantId")
	})
	return s
}

// inStyle asks for a style of coordination in the body of an order.
func inStyle(style, body string) string {
	return strings.Replace(body, "{", `{"coordination":"`+style+`",`, 1)
}

// order puts the shop's ids, and its style, into the body of an order.
func (s shop) order(body string) string {
	if s.style != "" {
		body = inStyle(s.style, body)
	}
	return strings.NewReplacer("CONSUMER", s.consumer, "RESTAURANT", s.restaurant).Replace(body)
}

// states follows the order's stream to its end.
func (p process) states(t *testing.T, id string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"/v1/orders/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("a stream of %q", kind)
	}
	var states []string
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
			states = append(states, answer{body: data}.field("state"))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("the stream of order %s after %v: %v", id, states, err)
	}
	return states
}

// eventually looks again until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
