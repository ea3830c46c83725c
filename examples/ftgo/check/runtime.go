package check

import (
	"context"
	"fmt"
	"slices"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/saga"
)

func readEffects(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT operation, step, action, count(*) FROM effects GROUP BY operation, step, action`, func(scan scan) error {
		e := effect{service: r.service}
		times := 0
		if err := scan(&e.operation, &e.step, &e.action, &times); err != nil {
			return err
		}
		r.s.effects[e] = times
		return nil
	})
}

func readSent(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT DISTINCT id, kind, channel, type FROM audit_sent`, func(scan scan) error {
		m := sent{sender: r.service}
		var id skald.ID
		if err := scan((*storedID)(&id), &m.kind, &m.channel, &m.name); err != nil {
			return err
		}
		r.s.sent[id] = m
		return nil
	})
}

func readHandled(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, grp, count(*) FROM audit_handled GROUP BY id, grp`, func(scan scan) error {
		var (
			to    receipt
			times int
		)
		if err := scan((*storedID)(&to.id), &to.group, &times); err != nil {
			return err
		}
		r.s.handled[to] += times
		return nil
	})
}

func readHeld(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, grp FROM skald_held`, func(scan scan) error {
		var to receipt
		if err := scan((*storedID)(&to.id), &to.group); err != nil {
			return err
		}
		r.s.held[to] = true
		return nil
	})
}

func readUnpublished(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id FROM skald_unpublished`, func(scan scan) error {
		var id skald.ID
		if err := scan((*storedID)(&id)); err != nil {
			return err
		}
		r.s.unpublished[id] = true
		return nil
	})
}

func readSagas(ctx context.Context, r *reader) {
	r.rows(ctx, `SELECT id, name, key, status, step, reason FROM skald_sagas ORDER BY id`, func(scan scan) error {
		i := &instance{rounds: []round{{done: map[string]bool{}}}}
		if err := scan((*storedID)(&i.id), &i.name, &i.key, &i.status, &i.step, &i.reason); err != nil {
			return err
		}
		i.order = orderapi.OrderOf(i.key)
		r.s.sagas = append(r.s.sagas, i)
		if !i.status.Ended() {
			r.s.live[i.order] = true
		}
		return nil
	})
}

// readHistory tells each saga what became of its steps.
func readHistory(ctx context.Context, r *reader) {
	byID := make(map[skald.ID]*instance, len(r.s.sagas))
	for _, i := range r.s.sagas {
		byID[i.id] = i
	}
	r.rows(ctx, `SELECT saga, step, what FROM skald_history ORDER BY saga, number`, func(scan scan) error {
		var (
			id         skald.ID
			step, what string
		)
		if err := scan((*storedID)(&id), &step, &what); err != nil {
			return err
		}
		if i := byID[id]; i != nil {
			i.tell(step, what)
		}
		return nil
	})
}

// tell takes one entry of the history.
func (i *instance) tell(step, what string) {
	now := i.last()
	switch what {
	case saga.HistorySent, saga.HistoryDone:
		if !slices.Contains(now.begun, step) {
			now.begun = append(now.begun, step)
		}
		if what == saga.HistoryDone {
			now.done[step] = true
		}
	case saga.HistoryUndone:
		now.undone = append(now.undone, step)
	case saga.HistoryAgain:
		i.rounds = append(i.rounds, round{done: map[string]bool{}})
	}
}

func readLocks(ctx context.Context, r *reader) {
	r.rows(ctx, `
SELECT resource, key, root, name, place, CASE WHEN message IS NULL THEN 0 ELSE 1 END FROM skald_locks ORDER BY resource, key, place`, func(scan scan) error {
		l := locked{lockKey: lockKey{service: r.service}}
		if err := scan(&l.resource, &l.key, (*storedID)(&l.root), &l.name, &l.place, &l.waits); err != nil {
			return err
		}
		r.s.locks = append(r.s.locks, l)
		return nil
	})
}

// storedID scans an id from its 16 bytes, or from a UUID's text.
type storedID skald.ID

// Scan implements [database/sql.Scanner].
func (id *storedID) Scan(value any) error {
	if text, ok := value.(string); ok {
		parsed, err := skald.ParseID(text)
		*id = storedID(parsed)
		return err
	}
	b, ok := value.([]byte)
	if !ok || len(b) != len(id) {
		return fmt.Errorf("%v is not the 16 bytes of an id", value)
	}
	copy(id[:], b)
	return nil
}
