// Package httpkit is what the services' HTTP interfaces share: JSON in and out, problems in
// the form of RFC 9457, and a router whose every answer has one of the two forms.
package httpkit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

// Problem is an error answer (RFC 9457). As an error, a handler returns it.
type Problem struct {
	// Type is a URI reference; about:blank when the status says it all.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Errors names the fields of the request that are wrong.
	Errors []FieldError `json:"errors,omitempty"`
}

// FieldError says what is wrong with one field, for example "lineItems[0].quantity".
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// NewProblem makes a problem whose title is the status's own.
func NewProblem(status int, format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// NotFound is the answer for an id that nothing has.
func NotFound(kind string) *Problem {
	return NewProblem(http.StatusNotFound, "there is no such %s", kind)
}

// Held is the answer to who wants to change what a saga has locked, in a state that may be unknown.
func Held(kind, state, saga string, id skald.ID, since time.Time) *Problem {
	if state != "" {
		state = " is " + state + ", and"
	}
	return NewProblem(http.StatusConflict, "the %s%s is locked by saga %s (%s) since %s: try again once that has ended", kind, state, saga, id, Time(since.UnixMicro()))
}

// Error implements error.
func (p *Problem) Error() string {
	parts := []string{fmt.Sprintf("%d %s", p.Status, p.Title)}
	if p.Detail != "" {
		parts = append(parts, p.Detail)
	}
	for _, e := range p.Errors {
		parts = append(parts, e.Field+": "+e.Detail)
	}
	return strings.Join(parts, ": ")
}

// Write answers with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"about:blank","title":"Internal Server Error","status":500}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the client is gone: nobody to tell
}

// Fields collects what is wrong with a request's fields.
type Fields struct{ errors []FieldError }

// maxFieldErrors bounds an answer: a request of 1 MiB may have many thousand faults.
const maxFieldErrors = 20

// Add names a wrong field.
func (f *Fields) Add(field, format string, args ...any) {
	if len(f.errors) < maxFieldErrors {
		f.errors = append(f.errors, FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
}

// String names the fields and what is wrong with them, for people.
func (f *Fields) String() string {
	lines := make([]string, len(f.errors))
	for i, e := range f.errors {
		lines[i] = e.Field + " " + e.Detail
	}
	return strings.Join(lines, "; ")
}

// Err is a problem with status 422, or nil when no field is wrong.
func (f *Fields) Err() error {
	if len(f.errors) == 0 {
		return nil
	}
	p := NewProblem(http.StatusUnprocessableEntity, "the request cannot be done as it is")
	p.Errors = f.errors
	return p
}

// Text checks a string for people or an identifier of somebody else's: not empty, bounded in
// bytes, and without control characters.
func (f *Fields) Text(field, value string, limit int) {
	switch {
	case value == "":
		f.Add(field, "is required")
	case len(value) > limit:
		f.Add(field, "is longer than %d bytes", limit)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		f.Add(field, "contains a control character")
	}
}
