package conform_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/conform"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
	"github.com/skald-go/skald/skaldtest"
)

// brokenVariable names the broken twin that a child process runs the suites on.
const brokenVariable = "SKALD_CONFORM_BROKEN"

// brokenTwin breaks one promise; the cases of the suite catch it.
type brokenTwin struct {
	cases  string
	store  func(s *skaldtest.Store) conform.Store
	broker func(b *skaldtest.Broker) conform.Broker
}

var brokenTwins = map[string]brokenTwin{
	"adds messages in reverse":      {cases: "store/outbox", store: func(s *skaldtest.Store) conform.Store { return reversing{s} }},
	"commits what is rolled back":   {cases: "store/batch", store: func(s *skaldtest.Store) conform.Store { return committing{s} }},
	"knows no group in the inbox":   {cases: "store/dedup", store: func(s *skaldtest.Store) conform.Store { return groupless{s} }},
	"has no barriers":               {cases: "store/barriers", store: func(s *skaldtest.Store) conform.Store { return unbarred{s} }},
	"leaves followers behind":       {cases: "store/held", store: func(s *skaldtest.Store) conform.Store { return headsOnly{s} }},
	"an unfenced position":          {cases: "store/leases", store: func(s *skaldtest.Store) conform.Store { return unfenced{s} }},
	"forgets who is apart":          {cases: "store/held", store: func(s *skaldtest.Store) conform.Store { return lining{s} }},
	"puts apart who is held again":  {cases: "store/held/whether_a_message_is_apart", store: func(s *skaldtest.Store) conform.Store { return parting{s} }},
	"wakes who is parked":           {cases: "store/held", store: func(s *skaldtest.Store) conform.Store { return rousing{s} }},
	"locks no queue":                {cases: "store/locks/a_queue_that_one", store: func(s *skaldtest.Store) conform.Store { return lockless{s} }},
	"frees a lock of everybody":     {cases: "store/locks", store: func(s *skaldtest.Store) conform.Store { return freeing{s} }},
	"knows locks by their keys":     {cases: "store/locks", store: func(s *skaldtest.Store) conform.Store { return resourceless{s} }},
	"counts rows in place of locks": {cases: "store/locks", store: func(s *skaldtest.Store) conform.Store { return cutting{s} }},
	"asked at once, finds no lock":  {cases: "store/locks", store: func(s *skaldtest.Store) conform.Store { return glancing{s} }},
	"never conflicts":               {cases: "store/sagas", store: func(s *skaldtest.Store) conform.Store { return unlocked{s} }},
	"a source polling by id alone":  {cases: "store/outbox/a_transaction_that_commits_late", store: func(s *skaldtest.Store) conform.Store { return &polling{Store: s} }},
	"skips a message when it reads": {cases: "source/cursor", store: func(s *skaldtest.Store) conform.Store { return skipping{s} }},
	"lets a stale relay save":       {cases: "source/lease", store: func(s *skaldtest.Store) conform.Store { return stale{s} }},
	"cleans unsettled rows":         {cases: "source/settled", store: func(s *skaldtest.Store) conform.Store { return cleaning{s} }},
	"loses a message":               {cases: "broker/delivery", broker: func(b *skaldtest.Broker) conform.Broker { return publishing{b, lose} }},
	"reorders a batch":              {cases: "broker/delivery", broker: func(b *skaldtest.Broker) conform.Broker { return publishing{b, reverse} }},
	"never notices a wipe":          {cases: "broker/faults", broker: func(b *skaldtest.Broker) conform.Broker { return forgetful{b} }},
	"ignores positions":             {cases: "broker/readers", broker: func(b *skaldtest.Broker) conform.Broker { return rewinding{b} }},
}

// TestTwins runs the suites on the twins; in a child process, on a broken one.
func TestTwins(t *testing.T) {
	broken, child := brokenTwins[os.Getenv(brokenVariable)]
	if child {
		conform.LosePatience() // what a broken twin lost is waited for in vain
	}
	openStore := func(*testing.T) conform.StoreUnderTest { return storeUnderTest(broken) }
	t.Run("store", func(t *testing.T) { conform.TestStore(t, openStore) })
	t.Run("source", func(t *testing.T) { conform.TestSource(t, openStore) })
	t.Run("broker", func(t *testing.T) {
		conform.TestBroker(t, func(*testing.T) conform.BrokerUnderTest { return brokerUnderTest(broken) })
	})
}

func storeUnderTest(broken brokenTwin) conform.StoreUnderTest {
	s := skaldtest.NewStore()
	under := conform.StoreUnderTest{Store: s, Begin: func(ctx context.Context) (skald.Tx, func() error, func() error, error) {
		tx, err := s.BeginTx(ctx)
		if err != nil {
			return nil, nil, nil, err
		}
		return tx, tx.Commit, tx.Rollback, nil
	}}
	if broken.store != nil {
		under.Store = broken.store(s)
	}
	if p, ok := under.Store.(*polling); ok {
		under.Begin = p.begin
	}
	return under
}

func brokerUnderTest(broken brokenTwin) conform.BrokerUnderTest {
	b := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	under := conform.BrokerUnderTest{Broker: b, Wipe: func(*testing.T) { b.Wipe() }}
	if broken.broker != nil {
		under.Broker = broken.broker(b)
	}
	return under
}

// The suites catch every broken twin.
func TestEveryBrokenTwinIsCaught(t *testing.T) {
	for name, twin := range brokenTwins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.failfast", "-test.run=^TestTwins$/"+twin.cases)
			cmd.Env = append(os.Environ(), brokenVariable+"="+name)
			output, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(output), "broken promise: ") {
				t.Errorf("the suites let it pass (%v):\n%s", err, output)
			}
		})
	}
}

type reversing struct{ *skaldtest.Store }

func (s reversing) AddMessages(ctx context.Context, tx skald.Tx, messages []skald.Message) error {
	return s.Store.AddMessages(ctx, tx, reverse(messages))
}

type committing struct{ *skaldtest.Store }

func (s committing) Begin(ctx context.Context) (inbox.Batch, error) {
	b, err := s.Store.Begin(ctx)
	return committingBatch{b}, err
}

type committingBatch struct{ inbox.Batch }

func (b committingBatch) Rollback() error {
	_ = b.Commit(context.Background())
	return nil
}

type groupless struct{ *skaldtest.Store }

func (s groupless) Handled(ctx context.Context, tx skald.Tx, _ string, ids []skald.ID) ([]inbox.Handled, error) {
	return s.Store.Handled(ctx, tx, "g", ids)
}

type unbarred struct{ *skaldtest.Store }

func (unbarred) LockBarriers(context.Context, skald.Tx, []inbox.BarrierKey) ([]inbox.Barrier, error) {
	return nil, nil
}

type headsOnly struct{ *skaldtest.Store }

func (s headsOnly) Unhold(ctx context.Context, tx skald.Tx, group string, ids []skald.ID) error {
	before, _ := s.ListHeld(ctx, group, 0, 1000)
	if err := s.Store.Unhold(ctx, tx, group, ids); err != nil {
		return err
	}
	before = slices.DeleteFunc(before, func(h inbox.Held) bool { return slices.Contains(ids, h.Message.ID) })
	return s.Hold(ctx, tx, group, before)
}

type unfenced struct{ *skaldtest.Store }

func (s unfenced) SavePositions(ctx context.Context, tx skald.Tx, leases []inbox.Lease) error {
	_ = s.Store.SavePositions(ctx, tx, leases)
	return nil
}

type unlocked struct{ *skaldtest.Store }

func (s unlocked) SaveSagas(ctx context.Context, tx skald.Tx, records []saga.Record) error {
	_ = s.Store.SaveSagas(ctx, tx, records)
	return nil
}

type skipping struct{ *skaldtest.Store }

func (s skipping) OpenOutbox(ctx context.Context, after relay.Position) (relay.Cursor, error) {
	if after.Commit > 0 {
		after.Commit++
	}
	return s.Store.OpenOutbox(ctx, after)
}

type stale struct{ *skaldtest.Store }

func (s stale) SaveCheckpoint(ctx context.Context, lease relay.Lease, c relay.Checkpoint) error {
	_ = s.Store.SaveCheckpoint(ctx, lease, c)
	return nil
}

type cleaning struct{ *skaldtest.Store }

func (s cleaning) SaveCheckpoint(ctx context.Context, lease relay.Lease, c relay.Checkpoint) error {
	c.Position.Commit++
	return s.Store.SaveCheckpoint(ctx, lease, c)
}

// publishing changes what is published.
type publishing struct {
	*skaldtest.Broker
	change func([]skald.Message) []skald.Message
}

func (b publishing) OpenSession(ctx context.Context, mark string) (relay.Session, error) {
	s, err := b.Broker.OpenSession(ctx, mark)
	return publishingSession{s, b.change}, err
}

type publishingSession struct {
	relay.Session
	change func([]skald.Message) []skald.Message
}

func (s publishingSession) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	return s.Session.Publish(ctx, s.change(messages))
}

func reverse(messages []skald.Message) []skald.Message {
	messages = slices.Clone(messages)
	slices.Reverse(messages)
	return messages
}

// lose replaces the last message of a batch by the one before it.
func lose(messages []skald.Message) []skald.Message {
	if len(messages) < 2 {
		return messages
	}
	return append(slices.Clone(messages[:len(messages)-1]), messages[0])
}

type forgetful struct{ *skaldtest.Broker }

func (b forgetful) OpenSession(ctx context.Context, _ string) (relay.Session, error) {
	return b.Broker.OpenSession(ctx, "")
}

type rewinding struct{ *skaldtest.Broker }

func (b rewinding) OpenReader(ctx context.Context, p inbox.Partition, _ inbox.Position) (inbox.Reader, error) {
	return b.Broker.OpenReader(ctx, p, inbox.Position{})
}
