// Package conform has the suites that every store, source and broker must pass, in the
// manner of testing/slogtest: each case is a subtest whose name is a promise, and its
// failure says how the promise is broken.
//
// An adapter runs them against a real server:
//
//	func TestConformance(t *testing.T) {
//		open := func(t *testing.T) conform.StoreUnderTest { ... }
//		conform.TestStore(t, open)
//		conform.TestSource(t, open)
//	}
//
// Every case opens a store or broker of its own. A store must be empty; a broker may be
// shared, as every case uses channels of its own, unless a hook wipes it.
package conform

import (
	"context"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

// Store is everything that a service needs of its database.
type Store interface {
	outbox.Store
	inbox.Store
	relay.Source
	saga.Store
}

// StoreUnderTest is an empty store, and what users do beside it.
type StoreUnderTest struct {
	Store Store
	// Begin opens a user's own transaction, of the kind that the outbox takes, with the
	// functions that end it. Required.
	Begin func(ctx context.Context) (tx skald.Tx, commit, rollback func() error, err error)
	// Coarse says that the store empties its outbox in parts, and knows of what is settled no more
	// than which transactions, or readings of the table, are settled as a whole: the cases ask for no
	// exact numbers then.
	Coarse bool
	// LogOnly says that messages are in a log and in no table: they cannot be counted, and a cursor
	// takes the place of the one before it.
	LogOnly bool
	// Reopen closes the store and opens one on the same data. Without it the cases that
	// need it are left out.
	Reopen func(t *testing.T) StoreUnderTest
}

// Broker is everything that a service needs of its broker.
type Broker interface {
	inbox.Transport
	relay.Publisher
}

// BrokerUnderTest is a broker of at least four partitions for each channel, and what
// happens to it. Hooks that are not given leave their cases out.
type BrokerUnderTest struct {
	Broker Broker
	// Wipe makes the broker lose everything, as when its disk is replaced, and returns once
	// it can be connected to again.
	Wipe func(t *testing.T)
	// Restart restarts the broker with what it has on disk, and returns once it can be
	// connected to again.
	Restart func(t *testing.T)
	// PublishRaw publishes bytes that are no message, as a foreign sender does.
	PublishRaw func(t *testing.T, channel, key string, raw []byte)
}
