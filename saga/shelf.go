package saga

import (
	"context"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/unit"
)

// shelf is the engine's share of a unit of work as to one sort of instances, sagas or choreographies:
// those that it has loaded or started, and what is to be written of them once, at the end. It implements
// [unit.Part].
type shelf[I any] struct {
	engine *Engine
	work   *unit.Work
	traits traits[I]
	loaded map[skald.ID]*I
	// saved lists the changed instances in the order of their first change.
	saved   []*I
	history []Entry

	// What the current message changed, to be forgotten by Reset.
	mark struct {
		history int
		before  []before[I]
	}
}

// traits are what the shelf needs to know of its instances.
type traits[I any] struct {
	row func(*I) *row
	// open makes an instance of what was loaded; nil when it is of another sort.
	open func(Record) *I
	// cache keeps instances between batches while cached says so.
	cache  *cache[I]
	cached func() bool
}

// row is what every instance has: its record as it will be written.
type row struct {
	record Record
	dirty  bool // it has to be written
	kept   bool // it comes from the cache, and may be outdated
}

// stale reports whether an instance may be outdated although nobody will notice: nothing of it is
// written.
func (r *row) stale() bool { return r.kept && !r.dirty }

// before is an instance as it was before the current message.
type before[I any] struct {
	in   *I
	copy I
}

func newShelf[I any](e *Engine, work *unit.Work, of traits[I]) shelf[I] {
	return shelf[I]{engine: e, work: work, traits: of, loaded: map[skald.ID]*I{}}
}

// Mark implements [unit.Part].
func (s *shelf[I]) Mark() { s.mark.history, s.mark.before = len(s.history), s.mark.before[:0] }

// Reset implements [unit.Part].
func (s *shelf[I]) Reset() {
	s.history = s.history[:s.mark.history]
	s.forget(s.mark.before)
	s.mark.before = s.mark.before[:0]
}

// forget makes instances what they were.
func (s *shelf[I]) forget(changed []before[I]) {
	for i := range changed {
		b := &changed[i]
		if s.traits.row(&b.copy).record.Revision == 0 { // it was started
			delete(s.loaded, s.traits.row(b.in).record.ID)
		}
		*b.in = b.copy
	}
}

// Flush implements [unit.Part]: one statement for the instances, one for the history.
func (s *shelf[I]) Flush(ctx context.Context, work *unit.Work) error {
	records := make([]Record, 0, len(s.saved))
	soon := false
	for _, in := range s.saved {
		row := s.traits.row(in)
		if !row.dirty {
			continue
		}
		row.dirty = false
		records = append(records, row.record)
		soon = soon || !row.record.DueAt.IsZero() && row.record.DueAt.Before(work.Now.Add(timerLook))
		if row.record.Status.Ended() || row.record.Status == Parked {
			work.Committed = append(work.Committed, func() { s.engine.waiters.wake(&row.record) })
		} else if s.traits.cached() {
			work.Committed = append(work.Committed, func() { s.traits.cache.put(row.record.ID, in) })
		}
	}
	if soon {
		work.Committed = append(work.Committed, s.engine.rearm)
	}
	if err := s.engine.Store.SaveSagas(ctx, work.Tx, records); err != nil {
		return err
	}
	return s.engine.Store.AddHistory(ctx, work.Tx, s.history)
}

// remember keeps the instance as it was before the current message.
func (s *shelf[I]) remember(in *I) {
	for i := range s.mark.before {
		if s.mark.before[i].in == in {
			return
		}
	}
	s.mark.before = append(s.mark.before, before[I]{in, *in})
}

// checkpoint returns a function that forgets what happens to the instance from now on, and what comes of
// that.
func (s *shelf[I]) checkpoint(in *I) (undo func()) {
	copied, saved, history, outgoing, remembered := *in, len(s.saved), len(s.history), len(s.work.Outgoing), len(s.mark.before)
	return func() {
		s.forget(s.mark.before[remembered:])
		*in = copied
		s.saved, s.history, s.mark.before = s.saved[:saved], s.history[:history], s.mark.before[:remembered]
		s.work.Outgoing = s.work.Outgoing[:outgoing]
	}
}

// changed has the instance written.
func (s *shelf[I]) changed(in *I) {
	if row := s.traits.row(in); !row.dirty {
		row.dirty = true
		row.record.Revision++
		s.saved = append(s.saved, in)
	}
}

// preload has those of ids loaded, now or a little later, that are not there yet.
func (s *shelf[I]) preload(ctx context.Context, ids []skald.ID) error {
	missing := s.missing(ids)
	if later, ok := s.engine.Store.(Preloader); ok {
		return later.PreloadSagas(ctx, s.work.Tx, missing, s.keep)
	}
	return s.load(ctx, missing)
}

// missing are those of ids that are not there yet, each once.
func (s *shelf[I]) missing(ids []skald.ID) []skald.ID {
	missing := make([]skald.ID, 0, len(ids))
	asked := make(map[skald.ID]bool, len(ids))
	for _, id := range ids {
		if !s.has(id) && !asked[id] {
			asked[id] = true
			missing = append(missing, id)
		}
	}
	return missing
}

// has reports whether an instance is there, which may come from the cache.
func (s *shelf[I]) has(id skald.ID) bool {
	if s.loaded[id] == nil {
		if in := s.traits.cache.take(id); in != nil && s.traits.cached() {
			s.traits.row(in).kept = true
			s.loaded[id] = in
		}
	}
	return s.loaded[id] != nil
}

func (s *shelf[I]) load(ctx context.Context, ids []skald.ID) error {
	records, err := s.engine.Store.LoadSagas(ctx, s.work.Tx, ids)
	s.keep(records)
	return err
}

func (s *shelf[I]) keep(records []Record) {
	for i := range records {
		if in := s.traits.open(records[i]); in != nil {
			s.loaded[records[i].ID] = in
		}
	}
}
