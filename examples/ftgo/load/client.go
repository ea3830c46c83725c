package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = 15 * time.Second // of the answer's head; a create waits up to 2 s for replicas
	firstPause    = 20 * time.Millisecond
	longestPause  = time.Second
	maxAnswer     = 1 << 20
)

func newHTTPClient(connections int) *http.Client {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:           dialer.DialContext,
			MaxIdleConns:          connections,
			MaxIdleConnsPerHost:   connections,
			IdleConnTimeout:       time.Minute,
			ResponseHeaderTimeout: headerTimeout,
			DisableCompression:    true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// problem is an RFC 9457 answer, as far as the client reads it.
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

// about reports whether the problem names the field.
func (p problem) about(field string) bool {
	for _, e := range p.Errors {
		if e.Field == field {
			return true
		}
	}
	return false
}

// refusedError is an answer that repeating the request would not change.
type refusedError struct {
	method, path string
	status       int
	problem      problem
	// repeated says that an earlier attempt was not answered, and may have been done.
	repeated bool
}

func (e *refusedError) Error() string {
	reason := e.problem.Detail
	if reason == "" {
		reason = e.problem.Title
	}
	for _, field := range e.problem.Errors {
		reason += "; " + field.Field + " " + field.Detail
	}
	return fmt.Sprintf("%s %s: %d %s: %s", e.method, e.path, e.status, http.StatusText(e.status), reason)
}

func (c *Client) post(ctx context.Context, path string, header http.Header, body []byte, answer any) error {
	return c.send(ctx, http.MethodPost, path, header, body, answer)
}

// send repeats the request until it is answered with other than a 5xx or 429, or ctx ends.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body []byte, answer any) error {
	var pause pause
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, method, path, header, body, answer)
		var refused *refusedError
		if err == nil {
			return nil
		}
		if errors.As(err, &refused) && !refused.passing() {
			refused.repeated = attempt > 1
			return err
		}
		c.tally.retried()
		if !pause.wait(ctx) {
			return fmt.Errorf("%w; the last attempt: %w", ctx.Err(), err)
		}
	}
}

// passing says that the answer is about the moment, not about the request. A 422 that
// names the consumer or the restaurant is one of those: this client has created both, so
// the order service's replica is behind.
func (e *refusedError) passing() bool {
	switch {
	case e.status >= 500, e.status == http.StatusTooManyRequests:
		return true
	case e.status == http.StatusUnprocessableEntity:
		return e.problem.about("consumerId") || e.problem.about("restaurantId")
	default:
		return false
	}
}

func (c *Client) once(ctx context.Context, method, path string, header http.Header, body []byte, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.config.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() {
		// What is left is read, so that the connection can be used again.
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
		_ = response.Body.Close()
	}()
	if response.StatusCode >= 300 {
		return refusal(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON expected: %w", method, path, err)
	}
	return nil
}

func refusal(response *http.Response) error {
	e := &refusedError{method: response.Request.Method, path: response.Request.URL.Path, status: response.StatusCode}
	// An answer that is no problem document still has its status.
	_ = json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&e.problem)
	return e
}

// pause grows with every use, with jitter.
type pause struct{ next time.Duration }

// wait returns false when ctx ends first.
func (p *pause) wait(ctx context.Context) bool {
	p.next = min(max(2*p.next, firstPause), longestPause)
	timer := time.NewTimer(p.next/2 + rand.N(p.next/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
