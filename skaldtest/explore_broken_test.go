package skaldtest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/saga"
)

// broken is a twin that breaks one promise, and what the exploration says of it.
type broken struct {
	name       string
	definition saga.Definition[exploredOrder]
	option     ExploreOption
	fault      string
}

func brokenTwins() []broken {
	store := func(wrap func(*Store) inbox.Store) ExploreOption {
		return func(c *exploreConfig) { c.wrapStore = wrap }
	}
	return []broken{
		{
			"no barrier", exploredCreateOrder(), store(func(s *Store) inbox.Store { return noBarrier{s} }),
			`undo "create order" had its effect before "create ticket" was undone, which landed after it`,
		},
		{
			"no inbox", exploredCreateOrder(), store(func(s *Store) inbox.Store { return noDedup{s} }),
			`do "verify consumer" had its effect twice`,
		},
		{
			"ack before commit", exploredCreateOrder(), func(c *exploreConfig) { c.ackFirst = true },
			"the saga never ends",
		},
		{
			"an engine that accepts any reply", exploredCreateOrder(), func(c *exploreConfig) { c.wrapReply = acceptAnyReply },
			`undo "create order" had its effect before "create ticket" was undone, which landed after it`,
		},
		{
			"a consumer that ignores keys", exploredSameKey(), store(func(s *Store) inbox.Store { return noKeys{s} }),
			"which was sent later on the same channel with the same key",
		},
	}
}

// noBarrier is a participant that keeps no record of undos.
type noBarrier struct{ *Store }

func (noBarrier) LockBarriers(context.Context, skald.Tx, []inbox.BarrierKey) ([]inbox.Barrier, error) {
	return nil, nil
}

// noDedup forgets what it has handled.
type noDedup struct{ *Store }

func (noDedup) Handled(context.Context, skald.Tx, string, []skald.ID) ([]inbox.Handled, error) {
	return nil, nil
}

func (noDedup) RecordHandled(context.Context, skald.Tx, string, time.Time, []inbox.Handled) error {
	return nil
}

// noKeys lets messages pass by held ones of their key.
type noKeys struct{ *Store }

func (n noKeys) HeldAmong(ctx context.Context, tx skald.Tx, group string, keys []inbox.ChannelKey, ids []skald.ID) ([]inbox.ChannelKey, []skald.ID, error) {
	_, held, err := n.Store.HeldAmong(ctx, tx, group, keys, ids)
	return nil, held, err
}

var awaitedActions = map[machine.StepState]string{
	machine.Sent: skald.ActionDo, machine.Undoing: skald.ActionUndo, machine.Barring: skald.ActionBar,
}

// acceptAnyReply makes every reply look like the one that the saga waits for.
func acceptAnyReply(home *Store, next inbox.Handle) inbox.Handle {
	return func(ctx context.Context, tx skald.Tx, m *skald.Message) (any, error) {
		id, err := skald.ParseID(m.Headers.Get(skald.HeaderSaga))
		if err != nil {
			return nil, err
		}
		records, err := home.LoadSagas(ctx, tx, []skald.ID{id})
		if err != nil || len(records) == 0 {
			return nil, errors.Join(errors.New("no saga"), err)
		}
		var in machine.Instance
		if err := json.Unmarshal(records[0].Progress, &in); err != nil {
			return nil, err
		}
		for _, p := range in.Steps {
			if action, awaited := awaitedActions[p.State]; awaited {
				m.Headers.Set(skald.HeaderStep, p.Step)
				m.Headers.Set(skald.HeaderAction, action)
			}
		}
		return next(ctx, tx, m)
	}
}

// exploredSameKey has two steps at one participant, with one key; the second has no undo.
func exploredSameKey() saga.Definition[exploredOrder] {
	call := saga.Call[exploredOrder, exploredOrder, exploredReply]
	return saga.Definition[exploredOrder]{
		Name: "order.two",
		Compensatable: []saga.Compensatable[exploredOrder]{
			{Name: "create ticket", Do: call(createTicket, exploredOrder.itself), Undo: call(rejectTicket, exploredOrder.itself)},
			{Name: "print ticket", Do: call(confirmTicket, exploredOrder.itself), Deadline: time.Second},
		},
		Pivot: saga.Step[exploredOrder]{Name: "authorize card", Do: call(authorizeCard, exploredOrder.itself)},
	}
}

func TestEveryBrokenTwinIsCaught(t *testing.T) {
	for _, b := range brokenTwins() {
		t.Run(b.name, func(t *testing.T) {
			options := []ExploreOption{From(exploredOrder{Order: "1"}), b.option}
			fault := mustFind(t, b.definition, options)
			if !strings.Contains(fault.Fault, b.fault) {
				t.Errorf("the fault is not %q", b.fault)
			}
			if err := replay(t.Context(), b.definition, fault.Script, options); err == nil || !strings.Contains(err.Error(), fault.Fault) {
				t.Errorf("replayed, the script comes to: %v", err)
			}
		})
	}
}

// mustFind explores what is wrong, and prints what was found.
func mustFind(t *testing.T, definition saga.Definition[exploredOrder], options []ExploreOption) *Counterexample {
	t.Helper()
	var fault *Counterexample
	explored, err := explore(t.Context(), definition, options)
	if !errors.As(err, &fault) {
		t.Fatalf("no counterexample: %v, %v", explored, err)
	}
	t.Logf("\n%s", fault)
	return fault
}
