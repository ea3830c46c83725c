package skald

import (
	"slices"
	"time"
)

// Kind says what a message is for.
type Kind uint8

// The kinds of messages.
const (
	KindCommand Kind = 1 // asks one participant to do something, and is answered
	KindReply   Kind = 2 // answers a command
	KindEvent   Kind = 3 // tells every subscriber what happened
)

// String is the kind's name on the wire.
func (k Kind) String() string {
	switch k {
	case KindCommand:
		return "command"
	case KindReply:
		return "reply"
	case KindEvent:
		return "event"
	default:
		return "unknown"
	}
}

// ParseKind reads a kind's name; false when there is none of that name.
func ParseKind(name string) (Kind, bool) {
	for _, k := range []Kind{KindCommand, KindReply, KindEvent} {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// Message is plain data: what one service tells another. How it was delivered, and how
// that is acknowledged, belongs to the broker and is not part of it.
type Message struct {
	// ID identifies the message through every retry and redelivery; the inbox handles
	// each id once per subscriber group. Drawn when the message is added to an outbox.
	ID ID
	// Kind is command, reply or event.
	Kind Kind
	// Channel is where the message goes: a service's commands, a saga's replies, an
	// aggregate's events. Lower-case words joined by dots or dashes.
	Channel string
	// Key orders: messages of one channel and key from one database are handled in the
	// order in which their transactions committed. Empty means the message's own id,
	// that is, no order.
	Key string
	// Type is the explicit wire name, never a Go name.
	Type string
	// Version is the type's major version, at least 1.
	Version int
	// Source names the sending service. Set when the message is added to an outbox.
	Source string
	// Time is when the message was made, in UTC.
	Time time.Time
	// ContentType of the payload; application/json when empty.
	ContentType string
	// Headers carry what is about the message: trace context, saga, step, reply channel.
	Headers Headers
	// Payload is the encoded content.
	Payload []byte
}

// ContentTypeJSON is the content type of a payload that says none.
const ContentTypeJSON = "application/json"

// Header is one name and value.
type Header struct{ Name, Value string }

// Headers are a message's headers, at most one of a name. They follow CloudEvents'
// rules for extension attributes, so that every broker binding carries them.
type Headers []Header

// The headers that Skald itself reads and writes.
const (
	HeaderTraceParent = "traceparent"   // W3C Trace Context
	HeaderTraceState  = "tracestate"    // W3C Trace Context
	HeaderReplyTo     = "replyto"       // channel on which a command is answered
	HeaderInReplyTo   = "inreplyto"     // id of the command that a reply answers
	HeaderOutcome     = "outcome"       // of a reply: success or refused
	HeaderSaga        = "sagaid"        // id of the saga that sent a command
	HeaderStep        = "sagastep"      // name of the step that sent a command
	HeaderAction      = "sagaaction"    // do, undo or bar
	HeaderAttempt     = "sagaattempt"   // counts the messages of one step and action
	HeaderDoAttempt   = "sagadoattempt" // the attempt at Do that an undo or a bar is about
	HeaderBarrier     = "sagabarrier"   // present when the participant keeps a barrier for the step
	HeaderLanded      = "sagalanded"    // present on an undo whose do was answered: it has landed
	HeaderName        = "saganame"      // of a command that takes a lock: name of the saga's definition
	HeaderRoot        = "sagaroot"      // id of a child's outermost parent, which its locks belong to
	HeaderRound       = "sagaround"     // how often the saga has started again; absent for never
	HeaderLocked      = "sagalocked"    // what becomes of a command that meets another's lock; absent for "wait"

	HeaderCorrelation  = "correlationid" // id of the choreography's instance that a message belongs to
	HeaderChoreography = "choreography"  // name of that choreography
	HeaderHops         = "hops"          // how many events led to the message
)

// Values of HeaderOutcome.
const (
	OutcomeSuccess = "success"
	OutcomeRefused = "refused"
)

// Values of HeaderAction.
const (
	ActionDo   = "do"
	ActionUndo = "undo"
	ActionBar  = "bar"
	// ActionReserve takes a lock for a saga that starts again.
	ActionReserve = "reserve"
)

// Get returns the value of a header, and the empty string when it is absent.
func (h Headers) Get(name string) string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value
		}
	}
	return ""
}

// Set puts or replaces a header.
func (h *Headers) Set(name, value string) {
	for i := range *h {
		if (*h)[i].Name == name {
			(*h)[i].Value = value
			return
		}
	}
	*h = append(*h, Header{name, value})
}

// Clone returns an independent copy.
func (h Headers) Clone() Headers { return slices.Clone(h) }

// OrderKey is the key that orders the message: Key, or the id where there is none.
func (m *Message) OrderKey() string {
	if m.Key != "" {
		return m.Key
	}
	return m.ID.String()
}

// Partition maps an order key to one of n partitions, by FNV-1a in 64 bits folded by
// modulo. It is part of the wire contract between Skald peers: all senders to a channel
// must agree.
func Partition(key string, n int) int {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	return int(h % uint64(n))
}
