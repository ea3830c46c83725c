// Package orderapi is what the order service is asked for and answers, and the states of an
// order.
package orderapi

import "github.com/skald-go/skald"

// Commands is the channel of the order service's own commands: its orchestrator treats the
// service as a participant like the others.
const Commands = "ftgo.order"

// ApproveOrder ends the creation of an order: APPROVAL_PENDING becomes APPROVED.
var ApproveOrder = skald.Command[Order, Approved]{
	Name:    "ftgo.order.approve-order",
	Channel: Commands,
	Key:     func(o Order) string { return o.OrderID },
}

// Order names an order.
type Order struct {
	OrderID string `json:"orderId"`
}

// Approved says that the order is approved.
type Approved struct{}

// State of an order.
type State string

// The states of an order.
const (
	ApprovalPending State = "APPROVAL_PENDING"
	StateApproved   State = "APPROVED"
	StateRejected   State = "REJECTED"
)

// Pending reports whether a saga runs on an order in this state.
func (s State) Pending() bool { return s == ApprovalPending }
