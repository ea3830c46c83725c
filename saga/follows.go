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

// follows is the engine's share of a unit of work as to choreographies: the instances that it has loaded
// or started, and what is to be written of them once, at the end.
type follows struct {
	engine *Engine
	work   *unit.Work
	loaded map[skald.ID]*followed
	// saved lists the changed instances in the order of their first change.
	saved   []*followed
	history []Entry

	// What the current message changed, to be forgotten by Reset.
	mark struct {
		history int
		before  []unfollowed
	}
}

// followed is an instance of a choreography in memory.
type followed struct {
	record  Record
	course  machine.Course
	tracked *tracked
	dirty   bool
}

// unfollowed is an instance as it was before the current message.
type unfollowed struct {
	in   *followed
	copy followed
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
	if err := fn(f); err != nil {
		return err
	}
	return f.Flush(ctx, work)
}

func newFollows(e *Engine, work *unit.Work) *follows {
	return &follows{engine: e, work: work, loaded: map[skald.ID]*followed{}}
}

// Mark implements [unit.Part].
func (f *follows) Mark() { f.mark.history, f.mark.before = len(f.history), f.mark.before[:0] }

// Reset implements [unit.Part].
func (f *follows) Reset() {
	f.history = f.history[:f.mark.history]
	for _, b := range f.mark.before {
		if b.copy.record.Revision == 0 {
			delete(f.loaded, b.in.record.ID)
		}
		*b.in = b.copy
	}
	f.mark.before = f.mark.before[:0]
}

// Flush implements [unit.Part]: one statement for the instances, one for the history.
func (f *follows) Flush(ctx context.Context, work *unit.Work) error {
	records := make([]Record, 0, len(f.saved))
	soon := false
	for _, in := range f.saved {
		if !in.dirty {
			continue
		}
		in.dirty = false
		records = append(records, in.record)
		soon = soon || !in.record.DueAt.IsZero() && in.record.DueAt.Before(work.Now.Add(timerLook))
		if in.record.Status.Ended() || in.record.Status == Parked {
			work.Committed = append(work.Committed, func() { f.engine.waiters.wake(&in.record) })
		} else if f.engine.ReadsAll() {
			work.Committed = append(work.Committed, func() { f.engine.courses.put(in.record.ID, in) })
		}
	}
	if soon {
		work.Committed = append(work.Committed, f.engine.rearm)
	}
	if err := f.engine.Store.SaveSagas(ctx, work.Tx, records); err != nil {
		return err
	}
	return f.engine.Store.AddHistory(ctx, work.Tx, f.history)
}

// preload has those of ids loaded, now or a little later, that are not yet.
func (f *follows) preload(ctx context.Context, ids []skald.ID) error {
	missing := make([]skald.ID, 0, len(ids))
	asked := make(map[skald.ID]bool, len(ids))
	for _, id := range ids {
		if !f.has(id) && !asked[id] {
			asked[id] = true
			missing = append(missing, id)
		}
	}
	if later, ok := f.engine.Store.(Preloader); ok {
		return later.PreloadSagas(ctx, f.work.Tx, missing, f.keep)
	}
	records, err := f.engine.Store.LoadSagas(ctx, f.work.Tx, missing)
	f.keep(records)
	return err
}

// has reports whether an instance is there, which may come from the cache.
func (f *follows) has(id skald.ID) bool {
	if f.loaded[id] == nil {
		if in := f.engine.courses.take(id); in != nil && f.engine.ReadsAll() {
			f.loaded[id] = in
		}
	}
	return f.loaded[id] != nil
}

// keep takes those of records that are choreographies; the store has sagas as well.
func (f *follows) keep(records []Record) {
	for i := range records {
		if f.engine.tracked[records[i].Name] != nil {
			f.loaded[records[i].ID] = &followed{record: records[i]}
		}
	}
}

// load returns an instance; nil when there is none of that id.
func (f *follows) load(ctx context.Context, id skald.ID) (*followed, error) {
	if !f.has(id) {
		records, err := f.engine.Store.LoadSagas(ctx, f.work.Tx, []skald.ID{id})
		if err != nil {
			return nil, err
		}
		f.keep(records)
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
	known, err := f.load(ctx, id)
	if known != nil {
		err = fmt.Errorf("%w: choreography %q was started with id %s", ErrConflict, known.record.Name, id)
	}
	return err
}

// start begins an instance of an id that was not used before.
func (f *follows) start(record Record, t *tracked) error {
	record.StartedAt = f.work.Now
	in := &followed{record: record, tracked: t}
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
	if !in.dirty {
		in.dirty = true
		r.Revision++
		f.saved = append(f.saved, in)
	}
	return nil
}

// remember keeps the instance as it was before the current message.
func (f *follows) remember(in *followed) {
	for i := range f.mark.before {
		if f.mark.before[i].in == in {
			return
		}
	}
	f.mark.before = append(f.mark.before, unfollowed{in, *in})
}

// step applies a timer or an operator's word to a choreography's instance; false when the id is a
// saga's.
func (e *Engine) step(ctx context.Context, tx skald.Tx, id skald.ID, event machine.Event) (tracked bool, err error) {
	if len(e.tracked) == 0 {
		return false, nil
	}
	err = e.following(ctx, tx, func(f *follows) error {
		in, err := f.load(ctx, id)
		if in == nil || err != nil {
			return err
		}
		tracked = true
		return f.apply(in, event)
	})
	return tracked, err
}
