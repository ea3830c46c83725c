package skald

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Command is the contract of a request to one participant: C is what is asked, R what is
// answered. A service publishes its commands as package variables; both sides use them.
type Command[C, R any] struct {
	// Name on the wire, for example "ftgo.kitchen.create-ticket". Required.
	Name string
	// Version is the major version of the contract. Defaults to 1.
	Version int
	// Channel that the participant reads. Required.
	Channel string
	// Key names the aggregate that the command is about: commands of one key are handled
	// in order. Defaults to none.
	Key func(C) string
	// Refusals are the codes with which the participant may say no.
	Refusals []string
	// Locks is the resource of which the command takes the semantic lock, on its key and for its saga, in the
	// handler's transaction and if that does not refuse. Another saga's lock is met before the handler
	// runs. Defaults to none.
	Locks Resource
	// Unlocks is the resource of which the command releases the lock on its key, in the handler's
	// transaction. Defaults to none.
	Unlocks Resource
}

// Message makes the message that carries the command.
func (c Command[C, R]) Message(content C) (Message, error) {
	m := Message{Kind: KindCommand, Channel: c.Channel, Type: c.Name, Version: max(c.Version, 1)}
	if c.Key != nil {
		m.Key = c.Key(content)
	}
	return m, encode(&m, content)
}

// Refuses reports whether the command declares the code.
func (c Command[C, R]) Refuses(code string) bool { return slices.Contains(c.Refusals, code) }

// Validate checks the contract and returns every fault at once.
func (c Command[C, R]) Validate() error {
	faults := []error{checkContract("command", c.Name, c.Version, c.Channel)}
	if limit := MaxName - len(replySuffix); len(c.Name) > limit {
		faults = append(faults, fmt.Errorf("skald: command %q: name of %d bytes: at most %d, so that its reply's is no longer than %d", c.Name, len(c.Name), limit, MaxName))
	}
	for _, code := range c.Refusals {
		if code == "" || strings.HasPrefix(code, "skald.") {
			faults = append(faults, fmt.Errorf("skald: command %q: refusal code %q: not empty, and not in skald's own namespace", c.Name, code))
		}
	}
	return errors.Join(append(faults, c.checkLocks())...)
}

func (c Command[C, R]) checkLocks() error {
	var faults []error
	for _, r := range [...]Resource{c.Locks, c.Unlocks} {
		if r == "" {
			continue
		}
		if err := r.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("skald: command %q: resource: %w", c.Name, err))
		}
		if c.Key == nil {
			faults = append(faults, fmt.Errorf("skald: command %q: a lock on %s needs a key to be on: give the command the Key of what it is about", c.Name, r))
		}
	}
	if c.Locks != "" && c.Locks == c.Unlocks {
		faults = append(faults, fmt.Errorf("skald: command %q: it locks and unlocks %s: what one transaction does needs no lock", c.Name, c.Locks))
	}
	return errors.Join(faults...)
}

// Event is the contract of what a service tells whoever wants to know.
type Event[E any] struct {
	// Name on the wire, for example "ftgo.restaurant.menu-revised". Required.
	Name string
	// Version is the major version of the contract. Defaults to 1.
	Version int
	// Channel on which the event is published. Required.
	Channel string
	// Key names the aggregate that the event is about: events of one key are handled in
	// order. Defaults to none.
	Key func(E) string
}

// Message makes the message that carries the event.
func (e Event[E]) Message(content E) (Message, error) {
	m := Message{Kind: KindEvent, Channel: e.Channel, Type: e.Name, Version: max(e.Version, 1)}
	if e.Key != nil {
		m.Key = e.Key(content)
	}
	return m, encode(&m, content)
}

// Type is the event without its content's type.
func (e Event[E]) Type() EventType { return EventType{e.Name, max(e.Version, 1), e.Channel} }

// Validate checks the contract and returns every fault at once.
func (e Event[E]) Validate() error { return checkContract("event", e.Name, e.Version, e.Channel) }

// EventType identifies an event's contract, whatever its content.
type EventType struct {
	Name    string
	Version int
	Channel string
}

// Type is the type itself, so that it can stand where any event can.
func (t EventType) Type() EventType { return t }

// Validate checks the contract and returns every fault at once.
func (t EventType) Validate() error { return checkContract("event", t.Name, t.Version, t.Channel) }

// String is the name, with the version where that is not the first.
func (t EventType) String() string {
	if t.Version > 1 {
		return fmt.Sprintf("%s v%d", t.Name, t.Version)
	}
	return t.Name
}

// EventType is the contract that the message names; its zero value when it is no event.
func (m *Message) EventType() EventType {
	if m.Kind != KindEvent {
		return EventType{}
	}
	return EventType{m.Type, m.Version, m.Channel}
}

// replySuffix is what the type of a reply adds to its command's.
const replySuffix = ".reply"

// Reply makes the reply to a command: a nil refusal is success with content.
func Reply(command *Message, content any, refusal *Refusal) (Message, error) {
	m := Message{
		ID: NewID(), Kind: KindReply, Channel: command.Headers.Get(HeaderReplyTo), Key: command.Headers.Get(HeaderSaga),
		Type: command.Type + replySuffix, Version: command.Version, Time: time.Now().UTC(),
	}
	m.Headers = make(Headers, 0, 8)
	m.Headers.Set(HeaderInReplyTo, command.ID.String())
	for _, name := range [...]string{HeaderSaga, HeaderStep, HeaderAction, HeaderAttempt, HeaderTraceParent, HeaderTraceState} {
		if value := command.Headers.Get(name); value != "" {
			m.Headers.Set(name, value)
		}
	}
	if refusal != nil {
		m.Headers.Set(HeaderOutcome, OutcomeRefused)
		return m, encode(&m, refusal)
	}
	m.Headers.Set(HeaderOutcome, OutcomeSuccess)
	return m, encode(&m, content)
}

// Decode reads a message's payload into content. Unknown fields are ignored and absent
// ones keep their zero value. Its errors wrap [ErrMalformed], also for what encoding/json lets
// pass: text that is not UTF-8, for which it puts other characters, an object that names a key
// twice, and what is nested deeper than [MaxNesting].
func Decode(m *Message, content any) error {
	if !utf8.Valid(m.Payload) {
		return fmt.Errorf("%w: payload of %s %q (%s): not UTF-8", ErrMalformed, m.Kind, m.Type, m.ID)
	}
	err := json.Unmarshal(m.Payload, content)
	if err == nil {
		err = checkJSON(m.Payload)
	}
	if err != nil {
		return fmt.Errorf("%w: payload of %s %q (%s): %w", ErrMalformed, m.Kind, m.Type, m.ID, err)
	}
	return nil
}

func encode(m *Message, content any) error {
	payload, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("skald: encode the payload of %s %q: %w", m.Kind, m.Type, err)
	}
	m.Payload = payload
	return nil
}

func checkContract(kind, name string, version int, channel string) error {
	var faults []error
	if err := CheckName(name); err != nil {
		faults = append(faults, fmt.Errorf("skald: %s: name: %w", kind, err))
	}
	if err := CheckName(channel); err != nil {
		faults = append(faults, fmt.Errorf("skald: %s %q: channel: %w", kind, name, err))
	}
	if version < 0 {
		faults = append(faults, fmt.Errorf("skald: %s %q: version %d: the major version is at least 1", kind, name, version))
	}
	return errors.Join(faults...)
}
