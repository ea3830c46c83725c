package kitchen

import "strings"

// State of a ticket.
type State string

// The states of a ticket.
const (
	CreatePending      State = "CREATE_PENDING"
	CreateRejected     State = "CREATE_REJECTED"
	AwaitingAcceptance State = "AWAITING_ACCEPTANCE"
	Accepted           State = "ACCEPTED"
	Preparing          State = "PREPARING"
	ReadyForPickup     State = "READY_FOR_PICKUP"
	PickedUp           State = "PICKED_UP"
	CancelPending      State = "CANCEL_PENDING"
	RevisionPending    State = "REVISION_PENDING"
	Cancelled          State = "CANCELLED"
)

// Pending reports whether a saga holds the ticket: whatever else wants to change it meets a
// conflict.
func (s State) Pending() bool { return strings.HasSuffix(string(s), "_PENDING") }

// Changeable reports whether nothing is prepared yet: the ticket may be cancelled or revised.
func (s State) Changeable() bool { return s == AwaitingAcceptance || s == Accepted }

// transition is a step of the kitchen's own work on a ticket.
type transition struct {
	name     string // in the path, and in the record of effects
	from, to State
}

// transitions are what the kitchen does with a confirmed ticket.
var transitions = []transition{
	{"accept", AwaitingAcceptance, Accepted},
	{"preparing", Accepted, Preparing},
	{"ready", Preparing, ReadyForPickup},
	{"picked-up", ReadyForPickup, PickedUp},
}
