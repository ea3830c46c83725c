package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald"
)

// Relay publishes one store's outbox. Several instances may run: one holds the lease and
// publishes, the others stand by.
type Relay struct {
	config    Config
	source    Source
	publisher Publisher
	holder    string
	leading   atomic.Bool
}

// New returns a relay from a source to a publisher.
func New(source Source, publisher Publisher, config Config) (*Relay, error) {
	config, err := config.withDefaults()
	if source == nil || publisher == nil {
		err = errors.Join(err, errors.New("relay: a source and a publisher are required"))
	}
	if err != nil {
		return nil, err
	}
	return &Relay{config: config, source: source, publisher: publisher, holder: skald.NewID().String()}, nil
}

// Leading reports whether this instance holds the lease.
func (r *Relay) Leading() bool { return r.leading.Load() }

// Lag measures how far the outbox is behind, whoever relays it.
func (r *Relay) Lag(ctx context.Context) (Lag, error) { return r.source.OutboxLag(ctx) }

// Run publishes, or stands by, until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		asked := time.Now()
		lease, acquired, err := r.source.AcquireLease(ctx, r.holder, r.config.LeaseTTL)
		switch {
		case err != nil && ctx.Err() == nil:
			r.config.Logger.Warn("relay: lease not acquired; trying again", "error", err)
		case acquired:
			r.lead(ctx, lease, asked)
		}
		sleep(ctx, r.config.LeaseTTL/3)
	}
	return nil
}

// lead publishes while the lease holds: its context ends when another instance may have
// taken over, counted from before the lease was asked for.
func (r *Relay) lead(ctx context.Context, lease Lease, asked time.Time) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	expiry := time.AfterFunc(time.Until(asked.Add(r.config.LeaseTTL)), stop)
	defer expiry.Stop()
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		defer stop()
		r.keepLease(ctx, lease, expiry)
	}()
	r.leading.Store(true)
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		if err := r.session(ctx, lease); err != nil && ctx.Err() == nil {
			if time.Since(began) > time.Minute {
				failures = 0
			}
			r.config.Logger.Warn("relay: session ended; publishing again from the checkpoint", "error", err)
			sleep(ctx, pause(failures))
		}
	}
	r.leading.Store(false)
	stop()
	<-renewing
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.LeaseTTL)
	defer cancel()
	if err := r.source.ReleaseLease(release, lease); err != nil && !errors.Is(err, ErrFenced) {
		r.config.Logger.Warn("relay: lease not released; others take over when it expires", "error", err)
	}
}

// keepLease renews the lease until ctx ends, or it has passed to another.
func (r *Relay) keepLease(ctx context.Context, lease Lease, expiry *time.Timer) {
	tick := time.NewTicker(r.config.LeaseTTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		switch err := r.source.RenewLease(ctx, lease, r.config.LeaseTTL); {
		case err == nil:
			expiry.Reset(time.Until(asked.Add(r.config.LeaseTTL)))
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrFenced):
			r.config.Logger.Warn("relay: lease lost; standing by", "error", err)
			return
		default:
			r.config.Logger.Warn("relay: lease not renewed yet", "error", err)
		}
	}
}

func pause(failures int) time.Duration {
	wait := min(100*time.Millisecond<<min(failures, 10), 10*time.Second)
	return wait - wait/5 + rand.N(wait*2/5)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
