package skald

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Refusal is a participant's "no": a business rule says that the command cannot be done.
// It is a reply, and it starts compensation. Every other error of a handler means "not
// now" and is retried.
type Refusal struct {
	// Code names the rule; it is one of the codes that the command declares.
	Code string `json:"code"`
	// Message says in a sentence what was refused and why, for people.
	Message string `json:"message"`
	// Detail is optional and machine-readable.
	Detail json.RawMessage `json:"detail,omitempty"`

	keep bool
}

// RefusedBarred is the code with which the runtime itself refuses a command whose
// compensation, or whose bar, came first. No handler may declare or return it.
const RefusedBarred = "skald.barred"

// RefusedDiscarded is the code with which the runtime answers a held command that an
// operator discarded. No handler may declare or return it.
const RefusedDiscarded = "skald.discarded"

// RefusedLocked is the code with which the runtime refuses a command that meets another saga's
// semantic lock. No handler may declare or return it.
const RefusedLocked = "skald.locked"

// Refuse says "no" with a declared code and a sentence. The handler's writes are undone
// unless Keep is called on it.
func Refuse(code, message string) *Refusal { return &Refusal{Code: code, Message: message} }

// Refusef is Refuse with a formatted sentence.
func Refusef(code, format string, args ...any) *Refusal {
	return Refuse(code, fmt.Sprintf(format, args...))
}

// Keep makes the handler's writes stay although it refuses: a declined card is a
// committed fact.
func (r *Refusal) Keep() *Refusal {
	kept := *r
	kept.keep = true
	return &kept
}

// Keeps reports whether the handler's writes stay.
func (r *Refusal) Keeps() bool { return r.keep }

// With adds a machine-readable detail, encoded as JSON.
func (r *Refusal) With(detail any) *Refusal {
	detailed := *r
	encoded, err := json.Marshal(detail)
	if err != nil {
		encoded, _ = json.Marshal("detail not encodable: " + err.Error())
	}
	detailed.Detail = encoded
	return &detailed
}

// Error implements error, so that a handler returns a refusal where it returns errors.
func (r *Refusal) Error() string { return "refused (" + r.Code + "): " + r.Message }

// AsRefusal finds a refusal in err's chain.
func AsRefusal(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}
