package conform

import (
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

var heldQueueCases = []storeCase{
	{"a key is due when its first message is retrying and its time has come", func(s store) {
		due, later, stuck := message("due"), message("later"), message("stuck")
		s.hold("g", retrying(due, now().Add(-time.Second)), retrying(later, now().Add(time.Hour)), parked(stuck))
		s.hold("h", retrying(message("due"), now().Add(-time.Second)))
		s.dueIs("g", now(), due)
		s.dueIs("g", now().Add(2*time.Hour), due, later)
	}},
	{"what follows a due message comes with it, in order", func(s store) {
		list := messages("k", 4)
		s.hold("g", retrying(list[0], now().Add(-time.Second)), following(list[1]), following(list[2]))
		s.hold("g", following(list[3]))
		s.dueIs("g", now(), list...)
	}},
	{"what follows a message that is not due is not due either", func(s store) {
		list := messages("k", 2)
		s.hold("g", retrying(list[0], now().Add(time.Hour)), following(list[1]))
		s.hold("g", parked(message("l")), following(message("l")))
		s.dueIs("g", now())
	}},
	{"no more than the limit is due at once, and never a message without those before it", limitsDue},
	{"messages without a key do not wait for each other", func(s store) {
		first, second, third, absent := message(""), message(""), message(""), message("")
		s.hold("g", retrying(first, now().Add(time.Hour)), retrying(second, now().Add(-time.Second)), retrying(third, now().Add(-time.Second)))
		due := s.due("g", now(), 10)
		same(s.checker, "due", heldIDs(due), []skald.ID{second.ID, third.ID})
		blocked, _ := s.among("g", []inbox.ChannelKey{{Channel: first.Channel, Key: absent.OrderKey()}})
		same(s.checker, "blocked keys", blocked, nil)
		blocked, _ = s.among("g", []inbox.ChannelKey{{Channel: first.Channel, Key: first.OrderKey()}})
		same(s.checker, "blocked keys", blocked, []inbox.ChannelKey{{Channel: first.Channel, Key: first.OrderKey()}})
	}},
	{"one key of two channels is two keys", func(s store) {
		here, there := message("k"), message("k")
		there.Channel = "conform.others"
		s.hold("g", retrying(here, now().Add(time.Hour)), retrying(there, now().Add(-time.Second)))
		s.dueIs("g", now(), there)
	}},
	{"when the first message of a key is gone, the one that followed it is due now", func(s store) {
		list := messages("k", 3)
		s.hold("g", retrying(list[0], now().Add(time.Hour)), following(list[1]), following(list[2]))
		s.unhold("g", list[0].ID)
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldFollowing)
		s.dueIs("g", soon(), list[1:]...)
	}},
	{"when the first message is gone, one that is parked behind it stays parked", func(s store) {
		first, second := message("k"), message("k")
		s.hold("g", retrying(first, now()), parked(second))
		s.unhold("g", first.ID)
		s.stateIs("g", inbox.HeldParked)
		s.dueIs("g", soon())
	}},
	{"when a message behind the first is gone, the first waits on", func(s store) {
		list := messages("k", 3)
		next := now().Add(time.Hour)
		s.hold("g", retrying(list[0], next), following(list[1]), following(list[2]))
		s.unhold("g", list[1].ID)
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldFollowing)
		s.nextIs("g", next)
	}},
	{"removing messages of several keys frees each key's next", func(s store) {
		a, b := messages("a", 3), messages("b", 2)
		s.hold("g", retrying(a[0], now()), following(a[1]), following(a[2]), parked(b[0]), following(b[1]))
		s.unhold("g", a[0].ID, a[1].ID, b[0].ID, skald.NewID())
		same(s.checker, "due", heldIDs(s.due("g", soon(), 10)), []skald.ID{a[2].ID, b[1].ID})
	}},
	{"a key is drained in order of arrival", func(s store) {
		list := messages("k", 5)
		s.hold("g", retrying(list[0], now()))
		for _, m := range list[1:] {
			s.hold("g", following(m))
		}
		for i, m := range list {
			s.dueIs("g", soon(), list[i:]...)
			s.unhold("g", m.ID)
		}
		s.dueIs("g", soon())
	}},
	{"the next attempt is the earliest of the group's retrying messages", func(s store) {
		if at, ok, err := s.Store.NextHeld(s.Context(), "g"); ok || err != nil {
			s.broken("nothing is held, and the next attempt is %s, %t (%v)", at, ok, err)
		}
		first := now().Add(time.Minute)
		waits := parked(message("p"))
		waits.NextAttempt = now().Add(-time.Hour)
		s.hold("g", waits, retrying(message("k"), first.Add(time.Minute)), retrying(message("l"), first), following(message("l")))
		s.hold("h", retrying(message("k"), now()))
		s.nextIs("g", first)
	}},
}

func limitsDue(s store) {
	queues := map[string][]skald.Message{}
	var held []inbox.Held
	for k := range 3 {
		key := fmt.Sprint("k", k)
		queues[key] = messages(key, 4)
		held = append(held, retrying(queues[key][0], now().Add(-time.Second)))
		for _, m := range queues[key][1:] {
			held = append(held, following(m))
		}
	}
	s.hold("g", held...)
	for limit := 1; limit <= 13; limit++ {
		due := s.due("g", now(), limit)
		if len(due) > limit || len(due) == 0 {
			s.broken("%d messages are due of 12 with a limit of %d", len(due), limit)
		}
		seen := map[string]int{}
		for _, h := range due {
			key := h.Message.Key
			if h.Message.ID != queues[key][seen[key]].ID {
				s.broken("with a limit of %d, message %d of key %s is not the one that arrived then", limit, seen[key], key)
			}
			seen[key]++
		}
	}
	if due := s.due("g", now(), 12); len(due) != 12 {
		s.broken("%d messages are due of 12 with a limit of 12", len(due))
	}
}

func (s store) due(group string, at time.Time, limit int) []inbox.Held {
	s.Helper()
	due, err := s.Store.DueHeld(s.Context(), group, at, limit)
	s.must(err, "read due messages")
	return due
}

// dueIs fails unless these are due, in order within each key.
func (s store) dueIs(group string, at time.Time, want ...skald.Message) {
	s.Helper()
	due := s.due(group, at, 100)
	same(s.checker, "due", heldIDs(due), ids(want))
	for _, key := range want {
		of := func(k string) bool { return k == key.OrderKey() }
		var got, wanted []skald.ID
		for i := range due {
			if of(due[i].Message.OrderKey()) {
				got = append(got, due[i].Message.ID)
			}
			if of(want[i].OrderKey()) {
				wanted = append(wanted, want[i].ID)
			}
		}
		if !slices.Equal(got, wanted) {
			s.broken("of key %s are due %v, not %v", key.OrderKey(), got, wanted)
		}
	}
}

// stateIs fails unless the group's held messages, by arrival, have these states.
func (s store) stateIs(group string, want ...inbox.HeldState) {
	s.Helper()
	var got []inbox.HeldState
	for _, h := range s.list(group, 0, 100) {
		got = append(got, h.State)
	}
	if !slices.Equal(got, want) {
		s.broken("the states are %v, not %v", got, want)
	}
}

func (s store) nextIs(group string, want time.Time) {
	s.Helper()
	at, ok, err := s.Store.NextHeld(s.Context(), group)
	s.must(err, "read the next attempt")
	if !ok || !at.Equal(want) {
		s.broken("the next attempt is at %s (there is one: %t), not at %s", at, ok, want)
	}
}
