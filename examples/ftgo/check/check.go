// Package check verifies FTGO's invariants on the services' databases: it reads them all and
// compares what they say with each other. It changes nothing. The verdict counts once
// things are quiet: while services run, what is under way looks unfinished.
package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald/examples/ftgo/databases"
)

// Invariant is one of the things that always hold, by its number in FTGO's description.
type Invariant struct {
	Number int    `json:"number"`
	Text   string `json:"text"`

	verify func(*snapshot, report)
}

// Invariants are all of them.
var Invariants = []Invariant{
	{1, "the ledger balances and agrees with the live authorizations; nothing was ever negative", ledgerBalances},
	{2, "an order is APPROVED exactly when one live authorization and one live ticket stand behind it", approvedIsBacked},
	{3, "nothing live stands behind a REJECTED or CANCELLED order", rejectedIsFree},
	{4, "nothing is pending without a saga, and every saga ended or is parked with a reason", nothingPends},
	{5, "no lock is held, or waited for, by a saga that has ended, and none is held by two", locksAreFree},
	{6, "an idempotency key made at most one order of its consumer", keysAreUnique},
	{7, "every message was handled once by each subscriber, or waits where an operator sees it", messagesHandledOnce},
	{8, "every effect happened, and happened once", effectsHappenedOnce},
	{9, "a compensated saga was undone exactly once, in reverse order, as was each round before a saga started again, and nothing else was", undoneInReverse},
	{10, "every replica equals its owner's data", replicasAgree},
}

// Violation is something that should not be.
type Violation struct {
	Invariant int `json:"invariant"`
	// What is wrong, with the ids that it is about.
	What string `json:"what"`
}

func (v Violation) String() string { return fmt.Sprintf("invariant %d: %s", v.Invariant, v.What) }

// Report is the result of a check.
type Report struct {
	// Services whose databases were read.
	Services []string `json:"services"`
	// Absent are services that have no database yet.
	Absent     []string    `json:"absent"`
	Orders     int         `json:"orders"`
	Sagas      int         `json:"sagas"`
	Messages   int         `json:"messages"`
	Violations []Violation `json:"violations"`

	activity int // grows with everything that happens
}

// OK says that every invariant holds.
func (r Report) OK() bool { return len(r.Violations) == 0 }

// unfinished says that a violation found may only be something that is under way.
func (r Report) unfinished() bool {
	return slices.ContainsFunc(r.Violations, func(v Violation) bool { return v.Invariant == 4 || v.Invariant == 7 })
}

// report adds a violation of the invariant that is being verified.
type report func(format string, args ...any)

const betweenLooks = 250 * time.Millisecond

// Settled is Run once things are quiet: while there are violations and something goes on, or
// may be under way, it looks again until patience runs out.
func Settled(ctx context.Context, from databases.Databases, patience time.Duration) (Report, error) {
	deadline := time.Now().Add(patience)
	looked, err := Run(ctx, from)
	for err == nil && !looked.OK() && time.Now().Before(deadline) {
		select {
		case <-ctx.Done():
			return looked, ctx.Err()
		case <-time.After(betweenLooks):
		}
		before := looked
		looked, err = Run(ctx, from)
		if looked.activity == before.activity && !looked.unfinished() {
			break
		}
	}
	return looked, err
}

// Run reads the services' databases and verifies every invariant. Its error says that
// it could not.
func Run(ctx context.Context, from databases.Databases) (Report, error) {
	s, err := read(ctx, from)
	if err != nil {
		return Report{}, err
	}
	r := Report{
		Services: s.services, Absent: s.absent, Orders: len(s.orders), Sagas: len(s.sagas), Messages: s.sentCount(),
		Violations: []Violation{}, activity: s.activity,
	}
	for _, invariant := range Invariants {
		invariant.verify(s, func(format string, args ...any) {
			r.Violations = append(r.Violations, Violation{invariant.Number, fmt.Sprintf(format, args...)})
		})
	}
	slices.SortStableFunc(r.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Invariant, b.Invariant), cmp.Compare(a.What, b.What))
	})
	return r, nil
}
