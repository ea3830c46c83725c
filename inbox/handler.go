package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
)

// Handle handles one message inside the batch's transaction. What it returns is the answer
// to a command: content, or a *[skald.Refusal] as error. Any other error means that the message is
// tried again later; one that wraps [ErrUnhandleable] parks it at once, and one that wraps [ErrPostponed] never
// does.
type Handle func(ctx context.Context, tx skald.Tx, m *skald.Message) (answer any, err error)

// HandleBatch handles messages of one registration together, in the order of their keys,
// inside the batch's transaction: all that wait in the batch, or one alone where that must not
// touch the others. Each request is settled by itself, at the latest when the transaction's
// queue has been flushed after the handler. An error is nobody's in particular: each message is
// then handled alone.
type HandleBatch func(ctx context.Context, tx skald.Tx, requests []*Request) error

// Request is one of the messages that a [HandleBatch] gets. It belongs to the handler's
// goroutine.
type Request struct {
	Message *skald.Message

	settled bool
	answer  any
	err     error
}

// Settle says what the message is answered, as a [Handle] returns it. The last word counts.
func (r *Request) Settle(answer any, err error) { r.settled, r.answer, r.err = true, answer, err }

// ErrUnhandleable is in the chain of errors that no retry can mend: the message is parked at once.
var ErrUnhandleable = errors.New("inbox: the message cannot be handled")

// ErrPostponed is in the chain of errors that say that nothing is wrong with the message, and that this
// process is not the one to handle it: it is held, and tried again every few seconds for as long as it takes,
// without using up attempts, until a process takes over that can.
var ErrPostponed = errors.New("inbox: the message waits for a process that can handle it")

// Registration says what a consumer does with the messages of a channel.
type Registration struct {
	Channel string
	// Type of the messages; empty for all types of the channel.
	Type string
	// Version is their major version; another one has no handler.
	Version int
	// Handle or HandleBatch, one of them.
	Handle      Handle
	HandleBatch HandleBatch
	// Declared says which refusal codes the handler may use; nil for none.
	Declared func(code string) bool
	// MaxHops in place of [Config.MaxHops]; 0 for that.
	MaxHops int
	// Locks and Unlocks are the resources of which a message takes or releases the semantic lock, on its key.
	Locks, Unlocks skald.Resource
	// Reaction, if given, makes this a reaction to a choreography's event.
	Reaction *Reaction
	// Prepare, if given, sees all messages of the registration in a batch before the first is
	// handled, those included that turn out to have been handled earlier.
	Prepare func(ctx context.Context, tx skald.Tx, messages []*skald.Message) error

	own ownHandler // of a command of the runtime's own
}

// route finds a message's registration.
type route struct {
	channel, kind string
	version       int
	choreography  string // of a reaction
}

type routes struct {
	exact    map[route]*Registration
	channels map[string]*Registration // those that take every type; nil value: exact ones only
	order    []string
	// locked has the resources of which messages of a channel take or release locks.
	locked map[string][]skald.Resource
	// reactions says that there is any: without one, no message's choreography is looked at.
	reactions bool
}

func (r *routes) add(g Registration) error {
	if r.exact == nil {
		r.exact, r.channels = map[route]*Registration{}, map[string]*Registration{}
	}
	if err := skald.CheckName(g.Channel); err != nil {
		return fmt.Errorf("inbox: handler of %q: channel: %w", g.Type, err)
	}
	if (g.Handle == nil) == (g.HandleBatch == nil) {
		return fmt.Errorf("inbox: handler of %q on channel %q: exactly one of Handle and HandleBatch is required", g.Type, g.Channel)
	}
	if g.Reaction != nil && (g.Reaction.Choreography == "" || g.Type == "") {
		return fmt.Errorf("inbox: reaction to %q on channel %q: a choreography and a type are required", g.Type, g.Channel)
	}
	if _, known := r.channels[g.Channel]; !known {
		r.channels[g.Channel] = nil
		r.order = append(r.order, g.Channel)
	}
	if g.Type == "" {
		if r.channels[g.Channel] != nil {
			return fmt.Errorf("inbox: channel %q: two handlers for all its messages", g.Channel)
		}
		r.channels[g.Channel] = &g
		return nil
	}
	key := route{g.Channel, g.Type, g.Version, ""}
	if g.Reaction != nil {
		r.reactions, key.choreography = true, g.Reaction.Choreography
	}
	if r.exact[key] != nil {
		return fmt.Errorf("inbox: %q version %d on channel %q: two handlers", g.Type, g.Version, g.Channel)
	}
	r.exact[key] = &g
	for _, resource := range [...]skald.Resource{g.Locks, g.Unlocks} {
		if resource != "" {
			if err := r.lock(g.Channel, resource); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *routes) find(m *skald.Message) *Registration {
	key := route{m.Channel, m.Type, m.Version, ""}
	if r.reactions {
		if key.choreography = m.Headers.Get(skald.HeaderChoreography); key.choreography != "" {
			if g := r.exact[key]; g != nil {
				return g
			}
			key.choreography = ""
		}
	}
	if g := r.exact[key]; g != nil {
		return g
	}
	return r.channels[m.Channel]
}

// otherVersions are the versions of a message's type that there are handlers for, when there is none for its
// own.
func (r *routes) otherVersions(m *skald.Message) []int {
	var versions []int
	choreography := m.Headers.Get(skald.HeaderChoreography)
	for known := range r.exact {
		if known.channel == m.Channel && known.kind == m.Type && (known.choreography == "" || known.choreography == choreography) {
			versions = append(versions, known.version)
		}
	}
	slices.Sort(versions)
	return versions
}

// besideDo reports whether the do that a message undoes or bars may be on the message's own
// channel, so that it could wait behind that for ever. A saga's commands share one; of two events it depends.
func (r *routes) besideDo(m *skald.Message) bool {
	g := r.find(m)
	if g == nil || g.Reaction == nil {
		return true
	}
	for key, other := range r.exact {
		if key.channel == m.Channel && key.choreography == g.Reaction.Choreography && other.Reaction.Step == g.Reaction.Step && other.Reaction.Action == skald.ActionDo {
			return true
		}
	}
	return false
}
