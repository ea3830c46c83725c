package postgres

import (
	"context"
	"time"
)

// guardEvery is how often the slot is looked at.
const guardEvery = 15 * time.Second

// Retained is how much of the log the replication slot holds back, in bytes; 0 when there is none.
// It grows while the relay does not publish, because the broker is down for example.
func (s *Store) Retained(ctx context.Context) (int64, error) {
	state, err := s.slot(ctx)
	return state.retained, err
}

// guard warns when the slot holds back very much of the log, and drops it when that is configured:
// the outbox's table has everything, and the server's disk does not fill up. It is called by
// the instance that holds the relay's lease, also while there is no broker.
func (s *Store) guard(ctx context.Context) {
	if s.config.Relay == Poll || !s.source.guarded.due(time.Now()) {
		return
	}
	retained, err := s.Retained(ctx)
	if err != nil {
		s.config.Logger.Warn("postgres: the replication slot could not be looked at", "slot", s.source.slot, "error", err)
		return
	}
	switch {
	case s.config.DropRetained > 0 && retained >= s.config.DropRetained:
		s.config.Logger.Error("postgres: the replication slot holds back too much of the log; dropping it, and polling the table until the relay has caught up",
			"slot", s.source.slot, "bytes", retained, "limit", s.config.DropRetained)
		if err := s.dropSlot(ctx); err != nil {
			s.config.Logger.Error("postgres: the replication slot could not be dropped", "slot", s.source.slot, "error", err)
		}
	case retained >= s.config.WarnRetained:
		s.config.Logger.Warn("postgres: the replication slot holds back much of the log: the relay does not publish, or not fast enough",
			"slot", s.source.slot, "bytes", retained, "limit", s.config.WarnRetained)
	}
}

// rhythm says when something is due again. It is used by one goroutine at a time.
type rhythm struct{ last time.Time }

func (r *rhythm) due(now time.Time) bool {
	if now.Sub(r.last) < guardEvery {
		return false
	}
	r.last = now
	return true
}
