package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
)

var told = skald.Event[string]{Name: "relay.told", Channel: "relay.events", Key: func(s string) string { key, _, _ := strings.Cut(s, " "); return key }}

// paper is a broker that keeps what is published as text, and does what a test tells it.
type paper struct {
	mu       sync.Mutex
	lines    []string
	sessions int
	// durable is the newest receipt that is surely on disk.
	durable uint64
	publish func(ctx context.Context, lines []string) error
	rejects func(line string) bool
}

type page struct {
	*paper
	number uint64
}

func (p *paper) OpenSession(context.Context, string) (relay.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions++
	return &page{paper: p}, nil
}

func (*page) Lost() bool   { return false }
func (*page) Close() error { return nil }

func (p *page) Durable(context.Context) (uint64, string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.durable, "", nil
}

func (p *page) Publish(ctx context.Context, messages []skald.Message) (relay.Receipt, error) {
	p.mu.Lock()
	publish, rejects := p.publish, p.rejects
	p.mu.Unlock()
	var lines []string
	var rejected []relay.Rejection
	for i := range messages {
		var line string
		if err := skald.Decode(&messages[i], &line); err != nil {
			return relay.Receipt{}, err
		}
		if rejects != nil && rejects(line) {
			rejected = append(rejected, relay.Rejection{Index: i, Err: errors.New("illegible")})
			continue
		}
		lines = append(lines, line)
	}
	if publish != nil {
		if err := publish(ctx, lines); err != nil {
			return relay.Receipt{}, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	p.lines = append(p.lines, lines...)
	return relay.Receipt{Number: p.number, Rejected: rejected}, nil
}

func (p *paper) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

func (p *paper) reads(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.lines, want) {
		t.Errorf("published were %q, want %q", p.lines, want)
	}
}

// office is a store with an outbox.
type office struct {
	*testing.T
	store *skaldtest.Store
	box   *outbox.Outbox
}

func open(t *testing.T) *office {
	t.Helper()
	store := skaldtest.NewStore()
	box, err := outbox.New(store, "office")
	if err != nil {
		t.Fatal(err)
	}
	return &office{t, store, box}
}

// tell adds one message in a transaction of its own.
func (o *office) tell(line string) {
	o.Helper()
	tx, err := o.store.BeginTx(o.Context())
	if err == nil {
		err = outbox.Publish(o.Context(), o.box, tx, told, line)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		o.Fatal(err)
	}
}

// relay runs a relay until stop is called.
func (o *office) relay(source relay.Source, p relay.Publisher) (stop func()) {
	o.Helper()
	r, err := relay.New(source, p, relay.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		o.Fatal(err)
	}
	ctx, cancel := context.WithCancel(o.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return func() {
		o.Helper()
		cancel()
		if err := <-ended; err != nil {
			o.Error(err)
		}
	}
}

func (o *office) checkpointIs(want uint64) {
	o.Helper()
	c, err := o.store.Checkpoint(o.Context())
	if err != nil || c.Position.Commit != want {
		o.Errorf("checkpoint at %d, %v; want %d", c.Position.Commit, err, want)
	}
}

func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	synctest.Wait()
}

// Faults: 18.
func TestTheCheckpointCoversOnlyWhatIsSurelyOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := open(t), &paper{}
		stop := o.relay(o.store, p)
		for n := range 4 {
			o.tell(fmt.Sprint("k ", n))
			pass(time.Millisecond)
		}
		pass(5 * time.Second)
		o.checkpointIs(0)
		p.set(func() { p.durable = 2 })
		pass(2 * time.Second)
		o.checkpointIs(2)
		stop()
		p.set(func() { p.durable = 0 })
		stop = o.relay(o.store, p) // begins behind the checkpoint, and with what was not surely there
		pass(5 * time.Second)
		p.reads(t, "k 0", "k 1", "k 2", "k 3", "k 2", "k 3")
		o.checkpointIs(2)
		p.set(func() { p.durable = 100 })
		pass(2 * time.Second)
		o.checkpointIs(4)
		stop()
	})
}

func TestAFailedPublishIsRepeatedFromTheCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := open(t), &paper{}
		failures := 0
		p.publish = func(_ context.Context, lines []string) error {
			if lines[0] == "k 1" && failures == 0 {
				failures++
				return errors.New("the line was cut")
			}
			return nil
		}
		stop := o.relay(o.store, p)
		for n := range 3 {
			o.tell(fmt.Sprint("k ", n))
			pass(time.Millisecond)
		}
		pass(5 * time.Second)
		stop()
		p.reads(t, "k 0", "k 0", "k 1", "k 2")
	})
}

// mute is the source of an instance that cannot renew its lease.
type mute struct {
	*skaldtest.Store
	cut chan struct{}
}

func (m *mute) RenewLease(ctx context.Context, lease relay.Lease, ttl time.Duration) error {
	select {
	case <-m.cut:
		<-ctx.Done()
		return ctx.Err()
	default:
		return m.Store.RenewLease(ctx, lease, ttl)
	}
}

func TestAPublishEndsBeforeAnotherInstanceMayTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, slow, quick := open(t), &paper{}, &paper{durable: 100}
		source := &mute{Store: o.store, cut: make(chan struct{})}
		var ended, tookOver time.Time
		slow.publish = func(ctx context.Context, _ []string) error {
			<-ctx.Done() // the broker does not answer
			if ended.IsZero() {
				ended = time.Now()
			}
			return ctx.Err()
		}
		quick.publish = func(context.Context, []string) error { tookOver = time.Now(); return nil }
		first := o.relay(source, slow)
		pass(time.Second)
		second := o.relay(o.store.Connect(), quick)
		close(source.cut)
		o.tell("k 0")
		pass(time.Minute)
		quick.reads(t, "k 0")
		if ended.IsZero() || !ended.Before(tookOver) {
			t.Errorf("the first instance's publish ended at %s, and the second began at %s", ended, tookOver)
		}
		o.checkpointIs(1)
		first()
		second()
	})
}

// Faults: 82.
func TestARejectedMessageIsTriedAgainAndSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := open(t), &paper{durable: 100}
		p.rejects = func(line string) bool { return line == "a 0" }
		stop := o.relay(o.store, p)
		for _, line := range []string{"a 0", "b 0", "a 1"} {
			o.tell(line)
			pass(time.Millisecond)
		}
		pass(5 * time.Second)
		p.reads(t, "b 0")
		o.checkpointIs(3)
		pass(time.Minute)
		held, err := o.store.ListUnpublished(t.Context(), 10)
		if err != nil || len(held) != 2 || held[0].Attempts < 2 || held[0].Reason != "illegible" || held[1].Attempts != 0 {
			t.Errorf("held: %+v, %v", held, err)
		}
		stop()
		stop = o.relay(o.store, p) // what is held survives
		o.tell("a 2")
		pass(time.Second)
		p.reads(t, "b 0")
		p.set(func() { p.rejects = nil })
		pass(time.Minute)
		p.reads(t, "b 0", "a 0", "a 1", "a 2")
		if keys, err := o.store.UnpublishedKeys(t.Context()); err != nil || len(keys) > 0 {
			t.Errorf("still blocked: %v, %v", keys, err)
		}
		o.tell("a 3")
		pass(time.Second)
		p.reads(t, "b 0", "a 0", "a 1", "a 2", "a 3")
		stop()
	})
}

// dusty is a source with much to clean.
type dusty struct {
	*skaldtest.Store
	pieces int
}

func (d *dusty) CleanOutbox(_ context.Context, _ time.Time, limit int) (int, error) {
	if d.pieces == 0 {
		return 0, nil
	}
	d.pieces--
	time.Sleep(10 * time.Millisecond) //nolint:forbidigo // virtual: inside a synctest bubble no real time passes
	return limit, nil
}

func TestCleaningDoesNotKeepMessagesWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := open(t), &paper{durable: 100}
		source := &dusty{Store: o.store, pieces: 1000}
		stop := o.relay(source, p)
		pass(time.Minute + 100*time.Millisecond)
		o.tell("k 0")
		pass(100 * time.Millisecond)
		p.reads(t, "k 0")
		pass(time.Minute)
		if source.pieces > 0 {
			t.Errorf("%d pieces are left", source.pieces)
		}
		stop()
	})
}
