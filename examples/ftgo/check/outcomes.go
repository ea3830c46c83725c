package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/saga"
)

// approvedIsBacked is invariant 2.
func approvedIsBacked(s *snapshot, report report) {
	live := s.liveAuthorizations()
	for id, o := range s.orders {
		if o.state != "APPROVED" || s.sagaOn(id) {
			continue
		}
		switch found := live[id]; {
		case len(found) != 1:
			report("order %s is APPROVED with %d live authorizations: %s", id, len(found), ids(found))
		case found[0].amount != o.total || found[0].consumer != o.consumer:
			report("order %s of consumer %s has the total %s, authorization %s of consumer %s is over %s", id, o.consumer, o.total, found[0].id, found[0].consumer, found[0].amount)
		}
		switch t, ok := s.tickets[id]; {
		case !ok:
			report("order %s is APPROVED without a ticket", id)
		case !t.live():
			report("order %s is APPROVED, and its ticket %s", id, t.state)
		case !sameItems(o.items, t.items):
			report("order %s and its ticket differ in their items: %v and %v", id, o.items, t.items)
		}
	}
	backedIsApproved(s, live, report)
}

// backedIsApproved is the other direction: what is live belongs to an approved order. What
// belongs to a rejected or cancelled one is invariant 3's.
func backedIsApproved(s *snapshot, live map[string][]authorization, report report) {
	stray := func(kind, id, orderID string) {
		o, ok := s.orders[orderID]
		switch {
		case s.sagaOn(orderID) || ok && (o.state == "APPROVED" || o.dead()):
		case !ok:
			report("%s %s is live, and there is no order %s", kind, id, orderID)
		default:
			report("%s %s is live, and order %s is %s", kind, id, orderID, o.state)
		}
	}
	for orderID, found := range live {
		for _, a := range found {
			stray("authorization", a.id, orderID)
		}
	}
	for id, t := range s.tickets {
		if t.live() {
			stray("ticket", id, id)
		}
	}
}

// rejectedIsFree is invariant 3.
func rejectedIsFree(s *snapshot, report report) {
	live := s.liveAuthorizations()
	for id, o := range s.orders {
		if !o.dead() || s.sagaOn(id) {
			continue
		}
		for _, a := range live[id] {
			report("order %s is %s, and authorization %s over %s is live", id, o.state, a.id, a.amount)
		}
		if t, ok := s.tickets[id]; ok && t.live() {
			report("order %s is %s, and its ticket %s", id, o.state, t.state)
		}
	}
}

// nothingPends is invariant 4.
func nothingPends(s *snapshot, report report) {
	for id, state := range s.pending() {
		if !s.sagaOn(id) {
			report("%s, and no saga runs or is parked on it", state)
		}
	}
	for _, i := range s.sagas {
		holdsWhatPends(s, i, report)
		switch {
		case i.status.Ended():
		case i.status != saga.Parked:
			report("saga %s (%s of %s) has not ended: it is %s at the step %q", i.id, i.name, i.key, i.status, i.step)
		case i.reason == "":
			report("saga %s (%s of %s) is parked without a reason", i.id, i.name, i.key)
		case !pending(s.orders[i.order].state):
			report("saga %s (%s of %s) is parked, and order %s is %s: it does not hold what it is about", i.id, i.name, i.key, i.order, s.orders[i.order].state)
		}
	}
}

// holdsWhatPends looks at the locks of a saga that has not ended, unless nobody orchestrates it: what it has put into a pending
// state it has locked.
func holdsWhatPends(s *snapshot, i *instance, report report) {
	if i.status.Ended() || sagaSteps[i.name] == nil {
		return
	}
	for _, pends := range []struct {
		lockKey

		state string
	}{
		{lockKey{"order", string(orderapi.Orders), i.order}, s.orders[i.order].state},
		{lockKey{"kitchen", string(kitchenapi.Tickets), i.order}, s.tickets[i.order].state},
	} {
		holds := slices.ContainsFunc(s.locks, func(l locked) bool { return l.lockKey == pends.lockKey && l.root == i.id && !l.waits })
		if pending(pends.state) && !holds {
			report("saga %s (%s of %s) is %s, and has no lock on %s, which is %s", i.id, i.name, i.key, i.status, pends.lockKey, pends.state)
		}
	}
}

// locksAreFree is invariant 5, of the locks and of what they mark: a pending state is left by the saga that has to.
func locksAreFree(s *snapshot, report report) {
	pendingIsFree(s, report)
	byID := make(map[skald.ID]*instance, len(s.sagas))
	for _, i := range s.sagas {
		byID[i.id] = i
	}
	holders := map[lockKey][]locked{} // who is first, and who behaves as if
	for _, l := range s.locks {
		does, first := "is waited for by", holders[l.lockKey]
		if len(first) == 0 || !l.waits || l.place == first[0].place {
			does, holders[l.lockKey] = "is held by", append(first, l)
		}
		switch i := byID[l.root]; {
		case i == nil:
			report("%s %s saga %s (%s), and there is no such saga", l.lockKey, does, l.root, l.name)
		case i.status.Ended():
			report("%s %s saga %s (%s of %s), which has ended: it is %s", l.lockKey, does, i.id, i.name, i.key, i.status)
		case i.order != l.key:
			report("%s %s saga %s (%s of %s), which is about another order", l.lockKey, does, i.id, i.name, i.key)
		}
	}
	for k, by := range holders {
		if len(by) > 1 {
			report("%s is held by %d sagas at once: %s and %s", k, len(by), by[0].root, by[1].root)
		}
	}
}

func pendingIsFree(s *snapshot, report report) {
	holders := map[string][]string{}
	ended := map[string]skald.ID{}
	for _, i := range s.sagas {
		if i.status.Ended() {
			ended[i.order] = i.id
		} else {
			holders[i.order] = append(holders[i.order], i.id.String())
		}
	}
	for id, state := range s.pending() {
		if saga, ok := ended[id]; ok && len(holders[id]) == 0 {
			report("%s, a lock held by saga %s, which has ended", state, saga)
		}
	}
	for order, sagas := range holders {
		if len(sagas) > 1 {
			report("order %s is locked by %d sagas: %s", order, len(sagas), strings.Join(sagas, ", "))
		}
	}
}

// keysAreUnique is invariant 6.
func keysAreUnique(s *snapshot, report report) {
	type use struct{ consumer, key string }
	uses := map[use][]string{}
	for id, o := range s.orders {
		if o.idempotencyKey.Valid {
			u := use{o.consumer, o.idempotencyKey.String}
			uses[u] = append(uses[u], id)
		}
	}
	for u, orders := range uses {
		if len(orders) > 1 {
			slices.Sort(orders)
			report("consumer %s has %d orders of the idempotency key %.100q: %s", u.consumer, len(orders), u.key, strings.Join(orders, ", "))
		}
	}
}

// pending describes the order, the ticket and the authorization of an id that are in a pending state.
func (s *snapshot) pending() map[string]string {
	found := map[string]string{}
	add := func(order, what, state string) {
		if !pending(state) {
			return
		}
		if found[order] != "" {
			found[order] += ", "
		}
		found[order] += what + " is " + state
	}
	for id, o := range s.orders {
		add(id, "order "+id, o.state)
	}
	for id, t := range s.tickets {
		add(id, "ticket "+id, t.state)
	}
	for _, a := range s.authorizations {
		add(a.order, "authorization "+a.id+" of order "+a.order, a.state)
	}
	return found
}

// pending reports whether a state of an order, a ticket or an authorization is a semantic lock.
func pending(state string) bool {
	return state == "PENDING" || state == "VALIDATED" || strings.HasSuffix(state, "_PENDING")
}

func sameItems(a, b []item) bool {
	count := func(items []item) map[string]int {
		counts := map[string]int{}
		for _, i := range items {
			counts[i.MenuItemID] += i.Quantity
		}
		return counts
	}
	return maps.Equal(count(a), count(b))
}

func ids(authorizations []authorization) string {
	if len(authorizations) == 0 {
		return "none"
	}
	names := make([]string, len(authorizations))
	for i, a := range authorizations {
		names[i] = a.id
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
