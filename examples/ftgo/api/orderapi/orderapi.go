// Package orderapi is what the order service is asked for, answers and tells, and the states of an
// order.
package orderapi

import (
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
)

// Commands is the channel of the order service's own commands: its orchestrator treats the
// service as a participant like the others.
const Commands = "ftgo.order"

// Orders are what is placed, cancelled and revised. A saga on an order locks it until its last step.
const Orders skald.Resource = "ftgo.order.order"

// ApproveOrder ends the creation of an order: the pending state that it is in becomes APPROVED.
var ApproveOrder = skald.Command[Approval, Approved]{
	Name:    "ftgo.order.approve-order",
	Channel: Commands,
	Key:     func(a Approval) string { return a.OrderID },
	Unlocks: Orders,
}

// ConfirmCancelOrder ends the cancel of an order: CANCEL_PENDING becomes CANCELLED.
var ConfirmCancelOrder = skald.Command[Change, Done]{
	Name:    "ftgo.order.confirm-cancel-order",
	Channel: Commands,
	Key:     func(c Change) string { return c.OrderID },
	Unlocks: Orders,
}

// ConfirmReviseOrder ends the revision of an order: REVISION_PENDING becomes APPROVED, with the new
// line items.
var ConfirmReviseOrder = skald.Command[Revision, Done]{
	Name:    "ftgo.order.confirm-revise-order",
	Channel: Commands,
	Key:     func(r Revision) string { return r.OrderID },
	Unlocks: Orders,
}

// Approval names an order and the pending state that it leaves: APPROVAL_PENDING, or VALIDATED in the
// parallel style.
type Approval struct {
	OrderID string `json:"orderId"`
	From    State  `json:"from"`
}

// Approved says that the order is approved.
type Approved struct{}

// Change names an order and the operation that changes it.
type Change struct {
	OrderID   string `json:"orderId"`
	Operation string `json:"operation"`
}

// Revision is what an order is changed to.
type Revision struct {
	OrderID   string `json:"orderId"`
	Operation string `json:"operation"`
	Versions
	Total     money.Amount `json:"total"`
	LineItems []LineItem   `json:"lineItems"`
}

// LineItem is an item of the menu at the price of the menu's version.
type LineItem struct {
	MenuItemID string       `json:"menuItemId"`
	Name       string       `json:"name"`
	Quantity   int          `json:"quantity"`
	Price      money.Amount `json:"price"`
}

// Done says that an order changed as asked.
type Done struct{}

// NewOperation names a cancel or a revision of an order: the business key of its saga, and what
// effects are recorded under. Cancels and revisions exclude each other by the order's lock, not by
// this key: an order is APPROVED again, and unlocked, with its saga's last step, and the saga itself ends with the
// answer to that. With the order's id alone, who cancels at once would meet a saga that is still live.
// An operator finds all of an order's sagas by the order's id, with which every key begins.
func NewOperation(order string) string { return order + "/" + skald.NewID().String() }

// OrderOf is the order that an operation, or the business key of any of an order's sagas, is about.
func OrderOf(operation string) string {
	order, _, _ := strings.Cut(operation, "/")
	return order
}

// FirstVersion is the version of an order that is created.
const FirstVersion = 1

// Versions are those of the order that a cancel or a revision was decided on, and that it makes. Services which keep something
// for an order tell from them in which order its operations belong, whatever the order in which they come.
type Versions struct {
	From int64 `json:"fromVersion"`
	To   int64 `json:"toVersion"`
}

// State of an order.
type State string

// The states of an order.
const (
	ApprovalPending State = "APPROVAL_PENDING"
	StatePending    State = "PENDING"   // of the parallel style
	StateValidated  State = "VALIDATED" // of the parallel style
	CancelPending   State = "CANCEL_PENDING"
	RevisionPending State = "REVISION_PENDING"
	StateApproved   State = "APPROVED"
	StateRejected   State = "REJECTED"
	StateCancelled  State = "CANCELLED"
)

// Pending reports whether the order is being created, cancelled or revised. Except where the creation is
// choreographed, a saga has locked it then.
func (s State) Pending() bool {
	return s == StatePending || s == StateValidated || strings.HasSuffix(string(s), "_PENDING")
}
