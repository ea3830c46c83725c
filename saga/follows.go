package saga

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/machine"
	"github.com/skald-go/skald/internal/unit"
)

// What an entry of a tracked choreography's history says, besides [HistoryStarted],
// [HistoryParked], [HistoryResumed], [HistoryCompleted] and [HistoryReversed]. Its Step is the event.
const (
	HistorySeen      = "seen"       // an event, for the first time
	HistorySeenAgain = "seen again" // an event of that name came before
	HistorySeenLate  = "seen after the end"
)

// follows is the engine's share of a unit of work as to choreographies.
type follows struct{ shelf[followed] }

// followed is an instance of a choreography in memory.
type followed struct {
	row
	course  machine.Course
	tracked *tracked
}

type followsKey struct{ engine *Engine }

// following runs fn with the batch's share, or with one of its own that is written at once when tx is
// the caller's own transaction.
func (e *Engine) following(ctx context.Context, tx skald.Tx, fn func(*follows) error) error {
	if work := unit.From(ctx, tx); work != nil {
		return fn(work.Part(followsKey{e}, func() unit.Part { return newFollows(e, work) }).(*follows))
	}
	work := unit.New(tx, e.Now().UTC())
	f := newFollows(e, work)
	f.traits.cached = never // the transaction does not run again on what is stored
	if err := fn(f); err != nil {
		return err
	}
	return f.Flush(ctx, work)
}

func newFollows(e *Engine, work *unit.Work) *follows {
	return &follows{newShelf(e, work, traits[followed]{
		row: func(in *followed) *row { return &in.row },
		open: func(r Record) *followed {
			if e.tracked[r.Name] == nil {
				return nil
			}
			return &followed{row: row{record: r}}
		},
		cache: &e.courses, cached: e.ReadsAll,
	})}
}

// find returns an instance; nil when there is none of that id.
func (f *follows) find(ctx context.Context, id skald.ID) (*followed, error) {
	if !f.has(id) {
		if err := f.load(ctx, []skald.ID{id}); err != nil {
			return nil, err
		}
	}
	in := f.loaded[id]
	if in == nil || in.tracked != nil {
		return in, nil
	}
	tracked := f.engine.tracked[in.record.Name][in.record.Version]
	if tracked == nil {
		return nil, fmt.Errorf("choreography %q: version %d: %w: track it until its last instance has ended", in.record.Name, in.record.Version, ErrUnknownVersion)
	}
	if err := json.Unmarshal(in.record.Progress, &in.course); err != nil {
		return nil, fmt.Errorf("choreography %q: instance %s: decode its progress: %w", in.record.Name, id, err)
	}
	in.course.Status, in.course.Reason, in.course.DueAt = machine.Status(in.record.Status), in.record.Reason, in.record.DueAt
	in.tracked = tracked
	return in, nil
}

// checkUnused refuses an id that was used before.
func (f *follows) checkUnused(ctx context.Context, id skald.ID) error {
	known, err := f.find(ctx, id)
	if known != nil {
		err = fmt.Errorf("%w: choreography %q was started with id %s", ErrConflict, known.record.Name, id)
	}
	return err
}

// start begins an instance of an id that was not used before.
func (f *follows) start(record Record, t *tracked) error {
	record.StartedAt = f.work.Now
	in := &followed{row: row{record: record}, tracked: t}
	f.loaded[record.ID] = in
	return f.apply(in, machine.Start{})
}

// apply steps the machine, and notes what is to be written.
func (f *follows) apply(in *followed, event machine.Event) error {
	next, records, err := machine.Follow(&in.tracked.flow, in.course, event, f.work.Now)
	if err != nil || len(records) == 0 {
		return err
	}
	f.remember(in)
	in.course = next
	r := &in.record
	for _, e := range records {
		f.history = append(f.history, Entry{Saga: r.ID, Number: e.Number, At: f.work.Now, Step: e.Step, What: e.What, Detail: e.Detail})
		if e.Step != "" {
			r.Step = e.Step
		}
	}
	if r.Progress, err = json.Marshal(in.course); err != nil {
		return fmt.Errorf("choreography %q: encode progress: %w", r.Name, err)
	}
	r.Status, r.Reason, r.DueAt, r.UpdatedAt = Status(in.course.Status), in.course.Reason, in.course.DueAt, f.work.Now
	f.changed(in)
	return nil
}

// step applies a timer or an operator's word to a choreography's instance; false when the id is a
// saga's.
func (e *Engine) step(ctx context.Context, tx skald.Tx, id skald.ID, event machine.Event) (tracked bool, err error) {
	if len(e.tracked) == 0 {
		return false, nil
	}
	err = e.following(ctx, tx, func(f *follows) error {
		in, err := f.find(ctx, id)
		if in == nil || err != nil {
			return err
		}
		tracked = true
		if err = f.apply(in, event); !rejected(err) || !in.stale() {
			return err
		}
		delete(f.loaded, id)
		if in, err = f.find(ctx, id); in == nil || err != nil {
			return err
		}
		return f.apply(in, event)
	})
	return tracked, err
}
