package conform

import (
	"strconv"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var heldOperatorCases = []storeCase{
	{"redrive makes parked and retrying messages due now, with their attempts reset", func(s store) {
		a, b, other := message("a"), message("b"), message("c")
		s.hold("g", parked(a), retrying(b, now().Add(time.Hour)), parked(other))
		if n := s.redrive("g", a.ID, b.ID, skald.NewID()); n != 2 {
			s.broken("redrive found %d messages, not 2", n)
		}
		s.dueIs("g", soon(), a, b)
		for _, h := range s.list("g", 0, 2) {
			if h.Attempts != 0 {
				s.broken("a redriven message has %d attempts behind it, not 0", h.Attempts)
			}
		}
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldRetrying, inbox.HeldParked)
	}},
	{"redrive leaves followers and other groups alone", func(s store) {
		first, second := message("k"), message("k")
		s.hold("g", parked(first), following(second))
		s.hold("h", parked(first))
		if n := s.redrive("g", second.ID); n != 0 {
			s.broken("redrive found %d messages, and the only one asked for follows another", n)
		}
		s.redrive("g", first.ID)
		s.stateIs("h", inbox.HeldParked)
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldFollowing)
		s.dueIs("g", soon(), first, second)
	}},
	{"redrive of nothing finds nothing", func(s store) {
		s.hold("g", parked(message("k")))
		if n := s.redrive("g"); n != 0 {
			s.broken("redrive found %d messages though none was asked for", n)
		}
		s.stateIs("g", inbox.HeldParked)
	}},
	{"a held do is found by saga, step and attempt, and made due now", releasesHeldDos},
	{"a held do that follows another message is found and stays where it is", func(s store) {
		key := inbox.BarrierKey{Saga: skald.NewID(), Step: "reserve", Attempt: 1}
		do := command(key, skald.ActionDo)
		first := message(do.Key)
		first.Channel = do.Channel
		s.hold("g", parked(first), following(do))
		same(s.checker, "dos found", s.releaseDos("g", key), []inbox.BarrierKey{key})
		s.stateIs("g", inbox.HeldParked, inbox.HeldFollowing)
	}},
}

func releasesHeldDos(s store) {
	id, other := skald.NewID(), skald.NewID()
	stuck, waiting := inbox.BarrierKey{Saga: id, Step: "reserve", Attempt: 1}, inbox.BarrierKey{Saga: id, Step: "charge", Attempt: 2}
	undone, absent := inbox.BarrierKey{Saga: other, Step: "reserve", Attempt: 1}, inbox.BarrierKey{Saga: id, Step: "reserve", Attempt: 2}
	elsewhere := inbox.BarrierKey{Saga: id, Step: "ship", Attempt: 1}
	dos := []skald.Message{command(stuck, skald.ActionDo), command(waiting, skald.ActionDo)}
	s.hold("g", parked(dos[0]), retrying(dos[1], now().Add(time.Hour)), parked(command(undone, skald.ActionUndo)), parked(message("k")))
	s.hold("h", parked(command(elsewhere, skald.ActionDo)))
	same(s.checker, "dos found", s.releaseDos("g", stuck, waiting, undone, absent, elsewhere), []inbox.BarrierKey{stuck, waiting})
	s.stateIs("g", inbox.HeldRetrying, inbox.HeldRetrying, inbox.HeldParked, inbox.HeldParked)
	s.dueIs("g", soon(), dos...)
	same(s.checker, "dos found for no key", s.releaseDos("g"), nil)
}

// command makes the message of a saga's step.
func command(key inbox.BarrierKey, action string) skald.Message {
	m := message(key.Saga.String() + "/" + key.Step)
	m.Kind, m.Channel = skald.KindCommand, "conform.commands"
	m.Headers = skald.Headers{
		{Name: skald.HeaderSaga, Value: key.Saga.String()},
		{Name: skald.HeaderStep, Value: key.Step},
		{Name: skald.HeaderAction, Value: action},
		{Name: skald.HeaderAttempt, Value: strconv.Itoa(key.Attempt)},
	}
	return m
}

func (s store) redrive(group string, list ...skald.ID) int {
	s.Helper()
	n, err := s.Store.Redrive(s.Context(), group, list)
	s.must(err, "redrive")
	return n
}

func (s store) releaseDos(group string, keys ...inbox.BarrierKey) []inbox.BarrierKey {
	s.Helper()
	var found []inbox.BarrierKey
	s.batch(func(tx skald.Tx) (err error) {
		found, err = s.Store.ReleaseHeldDos(s.Context(), tx, group, keys)
		return err
	})
	return found
}
