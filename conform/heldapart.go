package conform

import (
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

// apart is a held message in a queue of its own.
func apart(h inbox.Held) inbox.Held {
	h.Apart = true
	return h
}

var heldApartCases = []storeCase{
	{"a message that is held apart blocks no key, and is found by its id", func(s store) {
		m := message("k")
		s.hold("g", apart(retrying(m, now().Add(time.Hour))))
		blocked, found := s.among("g", []inbox.ChannelKey{{Channel: m.Channel, Key: "k"}}, m.ID)
		same(s.checker, "blocked keys", blocked, nil)
		same(s.checker, "held ids", found, []skald.ID{m.ID})
	}},
	{"a message that is held apart, and the queue of its key, do not wait for each other", func(s store) {
		early, late, list, next := message("k"), message("k"), messages("k", 3), now().Add(time.Hour)
		s.hold("g", apart(retrying(early, next)), retrying(list[0], now().Add(-time.Second)), following(list[1]), apart(retrying(late, now().Add(-time.Second))))
		s.hold("g", following(list[2]))
		same(s.checker, "due", heldIDs(s.due("g", now(), 10)), append(ids(list), late.ID))
		s.unhold("g", late.ID)
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldRetrying, inbox.HeldFollowing, inbox.HeldFollowing)
		s.unhold("g", list[0].ID) // the next of its key is due, whatever is apart before it
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldRetrying, inbox.HeldFollowing)
		same(s.checker, "due", heldIDs(s.due("g", soon(), 10)), ids(list[1:]))
		s.unhold("g", ids(list[1:])...)
		blocked, found := s.among("g", []inbox.ChannelKey{{Channel: early.Channel, Key: "k"}}, early.ID)
		same(s.checker, "blocked keys", blocked, nil)
		same(s.checker, "held ids", found, []skald.ID{early.ID})
	}},
	{"a message that is held apart is due at its time, and is apart then", func(s store) {
		m, next := message("k"), now().Add(time.Hour)
		held := apart(retrying(m, next))
		s.hold("g", held)
		s.nextIs("g", next)
		same(s.checker, "due", heldIDs(s.due("g", next.Add(-time.Second), 10)), nil)
		due := s.due("g", next, 10)
		same(s.checker, "due", heldIDs(due), []skald.ID{m.ID})
		s.sameHeld("g", due[0], held)
		s.listIs("g", []inbox.Held{held})
	}},
	{"whether a message is apart is decided when it is held first", func(s store) {
		alone, behind, first := message("k"), message("k"), message("k")
		s.hold("g", apart(retrying(alone, now())), parked(first), following(behind))
		again := retrying(alone, now().Add(time.Hour))
		s.hold("g", again, apart(following(behind)))
		want := apart(again)
		list := s.list("g", 0, 10)
		want.HeldAt = list[0].HeldAt
		s.sameHeld("g", list[0], want)
		if list[2].Apart {
			s.broken("a message in its key's queue was held again, and is apart now")
		}
		blocked, _ := s.among("g", []inbox.ChannelKey{{Channel: first.Channel, Key: "k"}})
		same(s.checker, "blocked keys", blocked, []inbox.ChannelKey{{Channel: first.Channel, Key: "k"}})
		s.unhold("g", first.ID) // frees who is behind it still
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldRetrying)
		same(s.checker, "due", heldIDs(s.due("g", soon(), 10)), []skald.ID{behind.ID})
	}},
	{"a message that is apart is redriven, and found as a step's do, like any other", func(s store) {
		key := inbox.BarrierKey{Saga: skald.NewID(), Step: "reserve", Attempt: 1}
		stuck, do := message("k"), command(key, skald.ActionDo)
		s.hold("g", apart(parked(stuck)), apart(retrying(do, now().Add(time.Hour))))
		if n := s.redrive("g", stuck.ID); n != 1 {
			s.broken("redrive found %d messages, not 1", n)
		}
		same(s.checker, "dos found", s.releaseDos("g", key), []inbox.BarrierKey{key})
		due := s.due("g", soon(), 10)
		same(s.checker, "due", heldIDs(due), []skald.ID{stuck.ID, do.ID})
		if !due[0].Apart || !due[1].Apart {
			s.broken("they are not apart any more")
		}
	}},
	{"a message that waits for its next attempt is woken, and no other", func(s store) {
		waiting, later, kept, stuck, list := message("k"), message("k"), message("k"), message("k"), messages("l", 2)
		next := now().Add(time.Hour)
		s.hold("g", apart(retrying(waiting, next)), retrying(later, next), apart(retrying(kept, next)), apart(parked(stuck)), parked(list[0]), following(list[1]))
		s.hold("h", apart(retrying(waiting, next)))
		s.wake("g", waiting.ID, later.ID, stuck.ID, list[0].ID, list[1].ID, skald.NewID())
		due := s.due("g", soon(), 10)
		same(s.checker, "due", heldIDs(due), []skald.ID{waiting.ID, later.ID})
		s.stateIs("g", inbox.HeldRetrying, inbox.HeldRetrying, inbox.HeldRetrying, inbox.HeldParked, inbox.HeldParked, inbox.HeldFollowing)
		if all := s.list("g", 0, 10); !all[0].Apart || all[0].Attempts != 1 || !all[2].NextAttempt.Equal(next) {
			s.broken("a message was woken, and held are %+v", all)
		}
		same(s.checker, "due for another group", heldIDs(s.due("h", soon(), 10)), nil)
	}},
	{"a message that was woken is due at once, and waits again when it is held again", func(s store) {
		m, ctx, next := message("k"), s.Context(), now().Add(time.Hour)
		s.hold("g", apart(retrying(m, next)))
		b := s.begin()
		s.must(s.Store.WakeHeld(ctx, b.Tx(), "g", []skald.ID{m.ID}), "wake")
		s.must(b.Rollback(), "roll back")
		s.nextIs("g", next)
		s.wake("g", m.ID)
		s.wake("g") // nobody
		if at, ok, err := s.Store.NextHeld(ctx, "g"); !ok || err != nil || at.After(soon()) {
			s.broken("the next attempt is at %s (there is one: %t), although it was woken (%v)", at, ok, err)
		}
		s.hold("g", apart(retrying(m, next)))
		s.nextIs("g", next)
	}},
	{"any number of messages is woken at once", func(s store) {
		var held []inbox.Held
		for range 1500 {
			held = append(held, apart(retrying(message("k"), now().Add(time.Hour))))
		}
		s.hold("g", held...)
		s.wake("g", heldIDs(held)...)
		same(s.checker, "due", heldIDs(s.due("g", soon(), 2000)), heldIDs(held))
	}},
}

func (s store) wake(group string, list ...skald.ID) {
	s.Helper()
	s.batch(func(tx skald.Tx) error { return s.Store.WakeHeld(s.Context(), tx, group, list) })
}
