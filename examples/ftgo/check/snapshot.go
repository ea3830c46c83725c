package check

import (
	"database/sql"
	"fmt"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/examples/ftgo/money"
	"github.com/skald-go/skald/saga"
)

// snapshot is what the databases say. Ids are in their text form.
type snapshot struct {
	services, absent []string

	orders             map[string]order
	sagas              []*instance
	live               map[string]bool // orders on which a saga runs or is parked
	tickets            map[string]ticket
	authorizations     []authorization
	accounts           map[string]account
	ledger             []entry
	consumers          map[string]consumer
	restaurants        map[string]restaurant
	restaurantReplicas map[string]map[string]restaurant // by the service that keeps it
	consumerReplica    map[string]consumerFacts

	locks       []locked // the rows of a key together, in the order of their places
	effects     map[effect]int
	sent        map[skald.ID]sent
	handled     map[receipt]int
	held        map[receipt]bool
	unpublished map[skald.ID]bool

	activity int // rows read: those that say what happened are never removed
}

func newSnapshot() *snapshot {
	return &snapshot{
		services: []string{}, absent: []string{},
		orders: map[string]order{}, live: map[string]bool{}, tickets: map[string]ticket{}, accounts: map[string]account{},
		consumers: map[string]consumer{}, restaurants: map[string]restaurant{},
		restaurantReplicas: map[string]map[string]restaurant{}, consumerReplica: map[string]consumerFacts{},
		effects: map[effect]int{}, sent: map[skald.ID]sent{}, handled: map[receipt]int{}, held: map[receipt]bool{},
		unpublished: map[skald.ID]bool{},
	}
}

type order struct {
	consumer       string
	state          string
	total          money.Amount
	items          []item
	idempotencyKey sql.NullString
}

// dead says that the order will never be delivered.
func (o order) dead() bool { return o.state == "REJECTED" || o.state == "CANCELLED" }

type item struct {
	MenuItemID string `json:"menuItemId"`
	Quantity   int    `json:"quantity"`
}

type ticket struct {
	state string
	items []item
}

// live says that the kitchen works, or has worked, for it.
func (t ticket) live() bool {
	switch t.state {
	case "CREATE_PENDING", "CREATE_REJECTED", "CANCELLED":
		return false
	default:
		return true
	}
}

type authorization struct {
	id, order, consumer string
	amount              money.Amount
	state               string
}

func (a authorization) live() bool { return a.state == "AUTHORIZED" }

type account struct {
	consumerVersion         int
	creditLimit, authorized money.Amount
}

// entry of the ledger.
type entry struct {
	number                           int64
	posting, consumer, account, side string
	amount, balance                  money.Amount
}

type consumer struct {
	version     int
	orderLimit  limit
	creditLimit money.Amount
}

// limit is an amount, or none.
type limit struct {
	set    bool
	amount money.Amount
}

func (l limit) String() string {
	if !l.set {
		return "no limit"
	}
	return l.amount.String()
}

// consumerFacts is what the order service knows of a consumer.
type consumerFacts struct {
	version    int
	orderLimit limit
}

func (c consumerFacts) String() string {
	return fmt.Sprintf("version %d with the order limit %s", c.version, c.orderLimit)
}

// accountFacts is what accounting knows of a consumer.
type accountFacts struct {
	version     int
	creditLimit money.Amount
}

func (a accountFacts) String() string {
	return fmt.Sprintf("version %d with the credit limit %s", a.version, a.creditLimit)
}

type restaurant struct {
	version int
	content string
}

func (r restaurant) String() string { return fmt.Sprintf("version %d %s", r.version, r.content) }

// instance is a saga and what its history says of its steps.
type instance struct {
	id           skald.ID
	name, key    string
	order        string // which it is about
	status       saga.Status
	step, reason string

	rounds []round // at least one
}

// round is what a saga did between two starts: one that starts again undoes everything before.
type round struct {
	begun  []string        // steps in the order in which they were sent or done
	done   map[string]bool // steps that landed
	undone []string        // steps in the order in which they were undone
}

// last is the round that decides, or is under way.
func (i *instance) last() *round { return &i.rounds[len(i.rounds)-1] }

// times counts the rounds of which something holds.
func (i *instance) times(holds func(round) bool) int {
	n := 0
	for _, r := range i.rounds {
		if holds(r) {
			n++
		}
	}
	return n
}

// lockKey is what a semantic lock is on, and in whose database it is.
type lockKey struct{ service, resource, key string }

func (k lockKey) String() string { return fmt.Sprintf("%s %s", k.resource, k.key) }

// locked is a row in the queue for a semantic lock.
type locked struct {
	lockKey

	root  skald.ID
	name  string // of the saga's definition
	place int    // the lowest one holds the lock
	waits bool   // a message of the saga's waits for it; else it holds it, or is to be first
}

// sagaOn says whether a saga runs or is parked on the order.
func (s *snapshot) sagaOn(order string) bool { return s.live[order] }

func (s *snapshot) sentCount() int { return len(s.sent) }

// liveAuthorizations are those that hold money, by order.
func (s *snapshot) liveAuthorizations() map[string][]authorization {
	live := map[string][]authorization{}
	for _, a := range s.authorizations {
		if a.live() {
			live[a.order] = append(live[a.order], a)
		}
	}
	return live
}
