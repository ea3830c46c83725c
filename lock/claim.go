package lock

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/skald-go/skald"
)

// The commands of the runtime's own, and their version.
const (
	// ReserveType takes a lock without doing anything under it, and is answered once the saga has it: for one that is to
	// start again and holds none ([skald.ActionReserve]), or for a step in the orchestrator's own transaction
	// ([skald.ActionDo]), which [skald.ActionBar] withdraws.
	ReserveType = "skald.lock.reserve"
	// SweepType removes whatever is left of a saga's locks. It has no content and is not answered.
	SweepType = "skald.lock.sweep"

	Version = 1
)

// Claim is what a saga's message says of the saga in whose name it locks or unlocks.
type Claim struct {
	Owner
	Saga       skald.ID
	Name, Step string
	Policy     Policy
}

// ErrNoOwner says that a message locks or unlocks, and is no saga's.
var ErrNoOwner = errors.New("a lock belongs to a saga, and the message is none's: send it as a step of a saga, or declare a command without Locks and Unlocks for others")

// ClaimOf reads a message's claim.
func ClaimOf(m *skald.Message) (Claim, error) {
	id := m.Headers.Get(skald.HeaderSaga)
	if id == "" {
		return Claim{}, ErrNoOwner
	}
	c := Claim{Name: m.Headers.Get(skald.HeaderName), Step: m.Headers.Get(skald.HeaderStep), Policy: Wait}
	var err error
	if c.Saga, err = skald.ParseID(id); err != nil {
		return Claim{}, fmt.Errorf("header %s: %w", skald.HeaderSaga, err)
	}
	c.Root = c.Saga
	if root := m.Headers.Get(skald.HeaderRoot); root != "" {
		if c.Root, err = skald.ParseID(root); err != nil {
			return Claim{}, fmt.Errorf("header %s: %w", skald.HeaderRoot, err)
		}
	}
	if round := m.Headers.Get(skald.HeaderRound); round != "" {
		n, err := strconv.ParseUint(round, 10, 31)
		if err != nil {
			return Claim{}, fmt.Errorf("header %s: %w", skald.HeaderRound, err)
		}
		c.Round = int(n)
	}
	switch policy := Policy(m.Headers.Get(skald.HeaderLocked)); policy {
	case "", Wait:
	case Refuse:
		c.Policy = Refuse
	default:
		return Claim{}, fmt.Errorf("header %s: %q is no policy", skald.HeaderLocked, policy)
	}
	return c, nil
}

// Put writes the claim into a message's headers, where it says more than their absence does.
func (c Claim) Put(h *skald.Headers) {
	if c.Root != c.Saga {
		h.Set(skald.HeaderRoot, c.Root.String())
	}
	if c.Round > 0 {
		h.Set(skald.HeaderRound, strconv.Itoa(c.Round))
	}
	if c.Name != "" {
		h.Set(skald.HeaderName, c.Name)
	}
	if c.Policy == Refuse {
		h.Set(skald.HeaderLocked, string(Refuse))
	}
}

// Row is the claim's row in the queue of a key.
func (c Claim) Row(k Key) Row {
	return Row{Key: k, Owner: c.Owner, Saga: c.Saga, Name: c.Name, Step: c.Step}
}

// Denial is the detail of a refusal because of another's lock.
type Denial struct {
	Resource skald.Resource `json:"resource"`
	Key      string         `json:"key"`
	// Channel on which the lock can be reserved; empty for the orchestrator's own database.
	Channel string `json:"channel,omitempty"`
	// Again says that this is no refusal: the saga is to give up what it holds, and to start again once
	// it has the lock.
	Again  bool      `json:"again,omitempty"`
	Holder skald.ID  `json:"holder"`
	Name   string    `json:"name"`
	Since  time.Time `json:"since"`
}

// Deny makes the refusal of a claim by whoever is before it, the holder first.
func Deny(k Key, channel string, before []Row, again bool) *skald.Refusal {
	d := Denial{Resource: k.Resource, Key: k.Key, Channel: channel, Again: again}
	text := fmt.Sprintf("%s is locked", k)
	if len(before) > 0 {
		holder := before[0]
		d.Holder, d.Name, d.Since = holder.Saga, holder.Name, holder.Since
		text = (&Conflict{k, holder.Saga, holder.Name, holder.Since}).Error()
	}
	return skald.Refuse(skald.RefusedLocked, text).With(d)
}
