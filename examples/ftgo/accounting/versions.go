package accounting

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/accountingapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/isolation"
)

// versions are the operations on one order's authorization. They arrive in whatever order: the service relies on nobody's keeping
// them apart, neither on the saga that holds the order nor on the channel. A reverse that comes before the authorize waits
// there, and the authorize is reversed at once. Where the answer depends on what comes before, as a revision's does, the command itself
// waits.
type versions = isolation.VersionFile[act]

type operation = isolation.Operation[act]

// act is what an operation does to an authorization.
type act struct {
	Kind       kind   `json:"kind"`
	ConsumerID string `json:"consumerId"`
}

type kind string

const (
	authorizing kind = "authorize"
	revising    kind = "revise"
	reversing   kind = "reverse"
)

// first is the operation that makes an authorization.
func first(consumer string) operation {
	return operation{Version: orderapi.FirstVersion, Content: act{authorizing, consumer}}
}

func later(v orderapi.Versions, do act) operation {
	return operation{After: v.From, Version: v.To, Content: do}
}

// recording is a version file in which an operation is recorded, not kept yet.
type recording struct {
	order string
	file  versions
	known bool        // there is a file
	due   []operation // it and what has waited for it, or nothing when it has to wait itself
}

// record records an operation. It is refused when the order has changed since it was decided on.
func (a *accounting) record(ctx context.Context, tx *sql.Tx, order string, o operation) (recording, error) {
	file, known, err := a.store.versions(ctx, tx, order)
	if err != nil {
		return recording{}, err
	}
	r := recording{order: order, known: known}
	r.file, r.due, err = file.Record(o)
	switch {
	case errors.Is(err, isolation.ErrOvertaken):
		return r, skald.Refusef(accountingapi.RefusedOrderChanged, "the order has changed meanwhile: %s", err)
	case err != nil:
		return r, fmt.Errorf("record the operation of order %s that makes version %d: %w", order, o.Version, err)
	}
	for _, d := range r.due {
		if d.Content.ConsumerID != o.Content.ConsumerID {
			return r, fmt.Errorf("order %s: an operation of consumer %s, and one of consumer %s", order, o.Content.ConsumerID, d.Content.ConsumerID)
		}
	}
	return r, nil
}

func (a *accounting) keep(ctx context.Context, tx *sql.Tx, r recording) error {
	if r.known {
		return a.store.setVersions(ctx, tx, r.order, r.file)
	}
	added, err := a.store.addVersions(ctx, tx, r.order, r.file)
	if err == nil && !added {
		err = fmt.Errorf("order %s: another operation is the first to be recorded", r.order)
	}
	return err
}

// begin records the operation that makes an authorization, and returns the state that this has once everything is applied
// which has waited for it. Mostly nothing has: that costs one statement.
func (a *accounting) begin(ctx context.Context, tx *sql.Tx, order, consumer string) (State, error) {
	o := first(consumer)
	file, _, err := versions{}.Record(o)
	if err != nil {
		return "", err
	}
	if added, err := a.store.addVersions(ctx, tx, order, file); added || err != nil {
		return Authorized, err
	}
	r, err := a.record(ctx, tx, order, o)
	if err != nil {
		return "", err
	}
	return r.state(), a.keep(ctx, tx, r)
}

// state is that of the authorization once all is applied that is due.
func (r recording) state() State {
	for _, o := range r.due {
		if o.Content.Kind == reversing {
			return Reversed
		}
	}
	return Authorized
}
