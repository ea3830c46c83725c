package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/service"
	"github.com/skald-go/skald/skaldtest"
)

// metered counts what timers do to a store.
type metered struct {
	*skaldtest.Store

	mu            sync.Mutex
	fired         map[skald.ID]int
	looks, due    int // how often it was asked for due sagas, and how many it gave
	limit, saving int // the most that were asked for, and saved, together
	broken        map[skald.ID]bool
}

func (m *metered) DueSagas(ctx context.Context, versions []saga.Version, now time.Time, after saga.Due, limit int) ([]saga.Due, error) {
	due, err := m.Store.DueSagas(ctx, versions, now, after, limit)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	m.due += len(due)
	m.limit = max(m.limit, limit)
	return due, err
}

func (m *metered) LoadSagas(ctx context.Context, tx skald.Tx, ids []skald.ID) ([]saga.Record, error) {
	m.mu.Lock()
	bad := slices.ContainsFunc(ids, func(id skald.ID) bool { return m.broken[id] })
	m.mu.Unlock()
	if bad {
		return nil, errors.New("damaged")
	}
	return m.Store.LoadSagas(ctx, tx, ids)
}

func (m *metered) SaveSagas(ctx context.Context, tx skald.Tx, records []saga.Record) error {
	m.mu.Lock()
	m.saving = max(m.saving, len(records))
	m.mu.Unlock()
	return m.Store.SaveSagas(ctx, tx, records)
}

func (m *metered) AddHistory(ctx context.Context, tx skald.Tx, entries []saga.Entry) error {
	m.mu.Lock()
	for _, e := range entries {
		if e.What == saga.HistoryTimedOut {
			m.fired[e.Saga]++
		}
	}
	m.mu.Unlock()
	return m.Store.AddHistory(ctx, tx, entries)
}

// meter puts a metered store under the order service.
func (s *shop) meter() *metered {
	m := &metered{fired: map[skald.ID]int{}, broken: map[skald.ID]bool{}}
	s.wrap = func(name string, store *skaldtest.Store) service.Store {
		if name != "order" {
			return store
		}
		m.Store = store
		return m
	}
	return m
}

// multiply copies a saga that waits, so that all of them are due at one moment.
func (s *shop) multiply(order string, n int) {
	s.t.Helper()
	original := s.record(order)
	records := make([]saga.Record, n)
	for i := range records {
		key := fmt.Sprint(order, i)
		encoded, err := json.Marshal(state{Order: key, Items: 1, Cents: 500})
		if err != nil {
			s.t.Fatal(err)
		}
		records[i] = original
		records[i].ID, records[i].Key, records[i].State, records[i].Revision = skald.NewID(), key, encoded, 1
	}
	b, err := s.stores["order"].Begin(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(s.stores["order"].SaveSagas(s.t.Context(), b.Tx(), records), b.Commit(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
}

// Faults: 72.
func TestDeadlinesThatPassTogetherFireOnceEachAndSomeAtATime(t *testing.T) {
	const many, together = 20_000, 256
	var m *metered
	inShop(t, func(s *shop) { s.deadline, m = 10*time.Second, s.meter() }, func(s *shop) {
		s.stop("kitchen")
		s.mustPlace("a", 1, 500)
		s.multiply("a", many-1)
		s.pass(12 * time.Second)
		if len(m.fired) != many {
			t.Errorf("%d deadlines fired, want %d", len(m.fired), many)
		}
		for id, n := range m.fired {
			if n != 1 {
				t.Errorf("the deadline of saga %s fired %d times", id, n)
			}
		}
		undos := map[string]int{}
		for _, message := range s.broker.Messages("shop.kitchen") {
			if message.Type == rejectTicket.Name {
				undos[message.Key]++
			}
		}
		if len(undos) != many {
			t.Errorf("%d sagas have sent their undo, want %d", len(undos), many)
		}
		if m.due > many+together || m.looks > many/together+10 {
			t.Errorf("%d due sagas were read by %d queries: more than there are", m.due, m.looks)
		}
		if m.limit > together || m.saving > together {
			t.Errorf("up to %d due sagas were asked for, and %d saved, together", m.limit, m.saving)
		}
	})
}

func TestATimerThatFailsKeepsNoneFromFiring(t *testing.T) {
	const broken = 600 // more than fire together, and all of them longer due
	var m *metered
	inShop(t, func(s *shop) { s.deadline, m = 10*time.Second, s.meter() }, func(s *shop) {
		s.stop("kitchen")
		s.mustPlace("a", 1, 500)
		s.multiply("a", broken)
		for i := range broken {
			m.broken[s.record(fmt.Sprint("a", i)).ID] = true
		}
		s.pass(time.Second)
		s.mustPlace("b", 1, 500)
		s.pass(11 * time.Second) // a round that fails is followed by a second's pause
		if n := m.fired[s.record("b").ID]; n != 1 {
			t.Errorf("behind timers that fail, a deadline fired %d times", n)
		}
		m.mu.Lock()
		clear(m.broken)
		m.mu.Unlock()
		s.pass(2 * time.Second)
		if len(m.fired) != broken+2 {
			t.Errorf("%d deadlines fired once nothing was broken, want %d", len(m.fired), broken+2)
		}
	})
}
