package conform

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

func parked(m skald.Message) inbox.Held {
	return inbox.Held{Message: m, State: inbox.HeldParked, Attempts: 3, Reason: "it does not work", HeldAt: now()}
}

func following(m skald.Message) inbox.Held {
	return inbox.Held{Message: m, State: inbox.HeldFollowing, HeldAt: now()}
}

func retrying(m skald.Message, next time.Time) inbox.Held {
	return inbox.Held{Message: m, State: inbox.HeldRetrying, Attempts: 1, NextAttempt: next, Reason: "not now", HeldAt: now()}
}

var heldCases = []storeCase{
	{"a held message comes back as it was held", func(s store) {
		var want []inbox.Held
		for _, m := range peculiar() {
			want = append(want, retrying(m, now().Add(time.Hour)))
		}
		want[1].State, want[1].Attempts, want[1].Reason = inbox.HeldParked, 12, "it's \"no\" – 100 %\nand a second line"
		want[1].NextAttempt = time.Time{}
		s.hold("g", want...)
		s.listIs("g", want)
	}},
	{"what could not be decoded is kept bit for bit, and orders nothing", func(s store) {
		raw := parked(skald.Message{ID: skald.NewID(), Channel: "conform.events"})
		raw.Raw = []byte{0, 0xff, '\'', 0xc3, 0x28, 0}
		other := raw
		other.Message.ID = skald.NewID()
		s.hold("g", raw, other)
		s.listIs("g", []inbox.Held{raw, other})
		s.unhold("g", raw.Message.ID)
		s.listIs("g", []inbox.Held{other})
	}},
	{"the list is in order of arrival, paged by place, of one group or of all", func(s store) {
		a, b, c := parked(message("k")), parked(message("l")), following(message("k"))
		s.hold("g", a, b)
		s.hold("h", parked(message("k")))
		s.hold("g", c)
		s.listIs("g", []inbox.Held{a, b, c})
		if all := s.list("", 0, 100); len(all) != 4 || all[2].Group != "h" {
			s.broken("the list of all groups is %v", states(all))
		}
		first := s.list("g", 0, 2)
		if len(first) != 2 {
			s.broken("the list of at most 2 has %d messages", len(first))
		}
		if rest := s.list("g", first[1].Place, 2); len(rest) != 1 || rest[0].Message.ID != c.Message.ID {
			s.broken("behind place %d the list is %v", first[1].Place, states(rest))
		}
	}},
	{"a held message and its key are found, of the group and channel only", func(s store) {
		m, elsewhere := message("k"), message("k")
		elsewhere.Channel = "conform.others"
		s.hold("g", parked(m))
		s.hold("h", parked(elsewhere))
		key := inbox.ChannelKey{Channel: m.Channel, Key: "k"}
		keys := []inbox.ChannelKey{key, {Channel: m.Channel, Key: "l"}, {Channel: "conform.others", Key: "k"}, {Channel: m.Channel}}
		blocked, found := s.among("g", keys, m.ID, elsewhere.ID, skald.NewID())
		same(s.checker, "blocked keys", blocked, []inbox.ChannelKey{key})
		same(s.checker, "held ids", found, []skald.ID{m.ID})
	}},
	{"each state blocks its key until the last message of it is gone", func(s store) {
		first, second := message("k"), message("k")
		key := []inbox.ChannelKey{{Channel: first.Channel, Key: "k"}}
		s.hold("g", retrying(first, now()), following(second))
		s.unhold("g", first.ID)
		if blocked, _ := s.among("g", key); len(blocked) != 1 {
			s.broken("the key is free although a message of it is held")
		}
		s.unhold("g", second.ID)
		if blocked, found := s.among("g", key, first.ID, second.ID); len(blocked)+len(found) != 0 {
			s.broken("key %v and ids %v are held although nothing is", blocked, found)
		}
	}},
	{"a message that is held again keeps its place and the time it was held first", func(s store) {
		a, b := retrying(message("k"), now()), following(message("k"))
		s.hold("g", a, b)
		before := s.list("g", 0, 10)
		again := parked(a.Message)
		again.Attempts, again.Reason, again.HeldAt = 9, "given up", now().Add(time.Hour)
		s.hold("g", again)
		want := again
		want.HeldAt = a.HeldAt
		s.listIs("g", []inbox.Held{want, b})
		if after := s.list("g", 0, 10); after[0].Place != before[0].Place {
			s.broken("the place is %d, and was %d", after[0].Place, before[0].Place)
		}
	}},
	{"one group's held message is not another's", func(s store) {
		m := message("k")
		s.hold("g", retrying(m, now()))
		s.hold("h", parked(m))
		s.unhold("g", m.ID)
		if left := s.list("", 0, 10); len(left) != 1 || left[0].Group != "h" || left[0].State != inbox.HeldParked {
			s.broken("group g gave its message up, and left is %v", states(left))
		}
	}},
	{"any number of messages is held, found and removed at once", func(s store) {
		for _, n := range []int{0, 65, 1000} {
			var list []inbox.Held
			var keys []inbox.ChannelKey
			for i := range n {
				m := message(fmt.Sprint("k", i))
				list, keys = append(list, parked(m)), append(keys, inbox.ChannelKey{Channel: m.Channel, Key: m.Key})
			}
			s.hold("g", list...)
			s.listIs("g", list)
			blocked, found := s.among("g", keys, heldIDs(list)...)
			same(s.checker, "blocked keys", blocked, keys)
			same(s.checker, "held ids", found, heldIDs(list))
			s.unhold("g", heldIDs(list)...)
			s.listIs("g", nil)
		}
	}},
}

func (s store) hold(group string, held ...inbox.Held) {
	s.Helper()
	s.batch(func(tx skald.Tx) error { return s.Store.Hold(s.Context(), tx, group, held) })
}

func (s store) unhold(group string, list ...skald.ID) {
	s.Helper()
	s.batch(func(tx skald.Tx) error { return s.Store.Unhold(s.Context(), tx, group, list) })
}

func (s store) among(group string, keys []inbox.ChannelKey, list ...skald.ID) (blocked []inbox.ChannelKey, found []skald.ID) {
	s.Helper()
	s.batch(func(tx skald.Tx) (err error) {
		blocked, found, err = s.Store.HeldAmong(s.Context(), tx, group, keys, list)
		return err
	})
	return blocked, found
}

func (s store) list(group string, after int64, limit int) []inbox.Held {
	s.Helper()
	list, err := s.Store.ListHeld(s.Context(), group, after, limit)
	s.must(err, "list held messages")
	return list
}

// listIs fails unless the group holds exactly these, in order.
func (s store) listIs(group string, want []inbox.Held) {
	s.Helper()
	got := s.list(group, 0, 10_000)
	if !slices.Equal(heldIDs(got), heldIDs(want)) {
		s.broken("held are %v, and should be %v", states(got), states(want))
	}
	place := int64(0)
	for i := range want {
		s.sameHeld(group, got[i], want[i])
		if got[i].Place <= place {
			s.broken("place %d comes behind place %d", got[i].Place, place)
		}
		place = got[i].Place
	}
}

func (s store) sameHeld(group string, got, want inbox.Held) {
	s.Helper()
	if d := difference(got.Message, want.Message); d != "" {
		s.broken("message: %s", d)
	}
	switch {
	case got.Group != group:
		s.broken("the group is %q, not %q", got.Group, group)
	case !bytes.Equal(got.Raw, want.Raw):
		s.broken("raw is %v, not %v", got.Raw, want.Raw)
	case got.State != want.State || got.Attempts != want.Attempts || got.Reason != want.Reason:
		s.broken("held is %s after %d attempts because %q, and should be %s after %d because %q",
			got.State, got.Attempts, got.Reason, want.State, want.Attempts, want.Reason)
	case want.State == inbox.HeldRetrying && !got.NextAttempt.Equal(want.NextAttempt):
		s.broken("the next attempt is at %s, not %s", got.NextAttempt, want.NextAttempt)
	case got.Apart != (want.Apart || want.Message.Key == ""):
		s.broken("message %s of key %q comes back with Apart %t", got.Message.ID, got.Message.Key, got.Apart)
	case !got.HeldAt.Equal(want.HeldAt):
		s.broken("held at %s, not %s", got.HeldAt, want.HeldAt)
	}
}

func heldIDs(list []inbox.Held) []skald.ID {
	var all []skald.ID
	for i := range list {
		all = append(all, list[i].Message.ID)
	}
	return all
}

// states describes held messages for a failure.
func states(list []inbox.Held) []string {
	var all []string
	for _, h := range list[:min(len(list), 20)] {
		all = append(all, fmt.Sprintf("%s of group %q, place %d, %s/%s: %s", h.Message.ID, h.Group, h.Place, h.Message.Channel, h.Message.Key, h.State))
	}
	return all
}
