package skald

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits on a message, checked when it is added to an outbox: what cannot be carried is
// refused there, with the caller's transaction still open, and never gets to the relay.
const (
	MaxPayload = 1 << 20  // bytes
	MaxHeaders = 16 << 10 // bytes, names and values together
	MaxKey     = 255      // bytes
	MaxName    = 120      // bytes, of a channel or a type
)

// ErrInvalidMessage is in the chain of every error of [Message.Validate].
var ErrInvalidMessage = errors.New("skald: invalid message")

// Validate checks sizes and syntax and returns every fault at once.
func (m *Message) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if m.Kind < KindCommand || m.Kind > KindEvent {
		fault("kind %d is none of command, reply, event", m.Kind)
	}
	if err := CheckName(m.Channel); err != nil {
		fault("channel: %w", err)
	}
	if err := CheckName(m.Type); err != nil {
		fault("type: %w", err)
	}
	if m.Version < 1 {
		fault("version %d: the major version is at least 1", m.Version)
	}
	if len(m.Key) > MaxKey || !printable(m.Key) {
		fault("key %.40q: at most %d bytes of UTF-8 without control characters", m.Key, MaxKey)
	}
	if len(m.ContentType) > MaxName || !printable(m.ContentType) {
		fault("content type %.40q: at most %d bytes of UTF-8 without control characters", m.ContentType, MaxName)
	}
	if len(m.Payload) > MaxPayload {
		fault("payload of %d bytes: at most %d; send a reference to what is larger", len(m.Payload), MaxPayload)
	}
	faults = append(faults, m.Headers.validate()...)
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w %s %q: %w", ErrInvalidMessage, m.Kind, m.Type, errors.Join(faults...))
}

// CheckName checks a channel, a type or a service: lower-case letters, digits, dots and dashes,
// beginning and ending with a letter or digit.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName && alphanumeric(name[0]) && alphanumeric(name[len(name)-1])
	for i := 0; ok && i < len(name); i++ {
		ok = alphanumeric(name[i]) || name[i] == '.' || name[i] == '-'
	}
	if !ok {
		return fmt.Errorf("%.140q: 1 to %d lower-case letters, digits, dots and dashes, a letter or digit first and last", name, MaxName)
	}
	return nil
}

func (h Headers) validate() (faults []error) {
	size := 0
	for i, header := range h {
		size += len(header.Name) + len(header.Value)
		if err := checkHeaderName(header.Name); err != nil {
			faults = append(faults, err)
		}
		if !printable(header.Value) {
			faults = append(faults, fmt.Errorf("header %s: value %.40q: UTF-8 without control characters", header.Name, header.Value))
		}
		for _, earlier := range h[:i] {
			if earlier.Name == header.Name {
				faults = append(faults, fmt.Errorf("header %s: given twice", header.Name))
			}
		}
	}
	if size > MaxHeaders {
		faults = append(faults, fmt.Errorf("headers of %d bytes: at most %d", size, MaxHeaders))
	}
	return faults
}

// reservedHeaders are CloudEvents' own attributes, and those that Skald derives from
// the message's fields.
var reservedHeaders = map[string]bool{
	"id": true, "source": true, "specversion": true, "type": true, "datacontenttype": true, "dataschema": true,
	"subject": true, "time": true, "data": true, "kind": true, "channel": true, "key": true, "typeversion": true,
}

func checkHeaderName(name string) error {
	ok := len(name) >= 1 && len(name) <= 20
	for i := 0; ok && i < len(name); i++ {
		ok = alphanumeric(name[i])
	}
	switch {
	case !ok:
		return fmt.Errorf("header name %.40q: 1 to 20 lower-case letters and digits (CloudEvents' rule for extension attributes)", name)
	case reservedHeaders[name]:
		return fmt.Errorf("header name %s: reserved for the message's own fields", name)
	default:
		return nil
	}
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}
