package inbox

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/skald-go/skald"
)

// Config of a consumer; its zero value works.
type Config struct {
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// BatchSize is how many messages one transaction handles at most. Defaults to 256.
	BatchSize int
	// HandlerTimeout is when a handler's context is cancelled. A handler that goes on all
	// the same is abandoned after as long again, and its message held. A batch handler has it for
	// one call; after that its messages are handled one by one. Defaults to 10 seconds.
	HandlerTimeout time.Duration
	// MaxAttempts before a message is parked. Defaults to 20, which the default backoff
	// stretches over some quarter of an hour.
	MaxAttempts int
	// MaxHops is how many events may have led to a message, one because of the other: one that is
	// further away is parked, because services that react to each other without end must be
	// stopped, and seen. Defaults to 32.
	MaxHops int
	// Backoff is the wait before the next attempt, after so many have failed. Defaults to 50 ms
	// doubled each time up to a minute, with a fifth of jitter.
	Backoff func(attempts int) time.Duration
	// LeaseTTL is how long a dead instance keeps its partitions. Defaults to 5 seconds.
	LeaseTTL time.Duration
	// Retention of dedup records, barriers and recorded replies. It must be longer than what
	// the outboxes of the senders and the broker can replay. Defaults to 15 days.
	Retention time.Duration
	// LockPatience is how long a message waits for a saga's lock, whoever holds it and why; then its step is
	// refused. Defaults to 5 minutes.
	LockPatience time.Duration
	// Now is the clock of what is stored. Defaults to time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	var faults []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"BatchSize", int64(c.BatchSize)},
		{"HandlerTimeout", int64(c.HandlerTimeout)},
		{"MaxAttempts", int64(c.MaxAttempts)},
		{"MaxHops", int64(c.MaxHops)},
		{"LeaseTTL", int64(c.LeaseTTL)},
		{"Retention", int64(c.Retention)},
		{"LockPatience", int64(c.LockPatience)},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("inbox: config: %s is negative", f.name))
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Backoff == nil {
		c.Backoff = backoff
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.BatchSize = orDefault(c.BatchSize, 256)
	c.HandlerTimeout = orDefault(c.HandlerTimeout, 10*time.Second)
	c.MaxAttempts = orDefault(c.MaxAttempts, 20)
	c.MaxHops = orDefault(c.MaxHops, 32)
	c.LeaseTTL = orDefault(c.LeaseTTL, 5*time.Second)
	c.Retention = orDefault(c.Retention, 15*24*time.Hour)
	c.LockPatience = orDefault(c.LockPatience, defaultLockPatience)
	return c, errors.Join(faults...)
}

// hops is the limit for a registration's messages.
func (c *Config) hops(g *Registration) int { return orDefault(g.MaxHops, c.MaxHops) }

func tooFar(m *skald.Message, hops, limit int) error {
	belongs := ""
	if c := m.Correlation(); !c.ID.IsZero() {
		belongs = fmt.Sprintf(" of choreography %q (%s)", c.Choreography, c.ID)
	}
	return fmt.Errorf("%w: %d events led to %s %q of service %q%s, and the limit is %d: services react to each other's events without end; break the cycle, or raise MaxHops if it is meant",
		ErrUnhandleable, hops, m.Kind, m.Type, m.Source, belongs, limit)
}

func orDefault[T comparable](value, standard T) T {
	var zero T
	if value == zero {
		return standard
	}
	return value
}

func backoff(attempts int) time.Duration {
	wait := 50 * time.Millisecond << min(max(attempts-1, 0), 20)
	wait = min(wait, time.Minute)
	return wait - wait/10 + rand.N(wait/5+1)
}

// The shortest and the longest wait of a postponed message.
const (
	postponedAtLeast = time.Second
	postponedAtMost  = 10 * time.Second
)

// postponement is the wait of a message that has waited for so long already: as long again, within
// bounds, because its attempts are not counted.
func postponement(waited time.Duration) time.Duration {
	wait := min(max(waited, postponedAtLeast), postponedAtMost)
	return wait - wait/10 + rand.N(wait/5+1)
}
