package service

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

// Config of a service; its zero value works.
type Config struct {
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// BatchSize is how many messages one transaction handles at most. Defaults to 256.
	BatchSize int
	// HandlerTimeout bounds one call of a handler. Defaults to 10 seconds.
	HandlerTimeout time.Duration
	// MaxAttempts before a message is parked. Defaults to 20, over some quarter of an hour.
	MaxAttempts int
	// MaxHops is how many events may have led to a message, one because of the other, before it is
	// parked: services that react to each other without end are stopped. Defaults to 32.
	MaxHops int
	// LeaseTTL is how long a dead instance keeps its partitions and its outbox. Defaults to 5
	// seconds.
	LeaseTTL time.Duration
	// OutboxRetention of published messages: within it, a broker that was wiped gets
	// everything again. Defaults to 3 days.
	OutboxRetention time.Duration
	// InboxRetention of dedup records, barriers and recorded replies: longer than what outboxes and
	// broker can replay. Defaults to 15 days.
	InboxRetention time.Duration
	// RelayElsewhere leaves publishing to a relay that [relay.New] makes on a store of the same
	// database: in another process, or with a pool of its own whose role may do no more. While
	// none runs, nothing is published. That relay has its own retention, which OutboxRetention is to
	// repeat. Defaults to false: the service publishes by itself.
	RelayElsewhere bool
	// StartVersions says by the name of a saga which of its registered versions starts; its running instances go
	// on with the one they started with. Register a new version everywhere first, then let it start.
	// Defaults to the highest that is registered.
	StartVersions map[string]int
	// LockPatience is how long a command waits for another saga's semantic lock, whoever holds it and why; then
	// its step is refused. Defaults to 5 minutes.
	LockPatience time.Duration
	// Now is the clock of what is stored: deadlines, next attempts, the history. Defaults to time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.OutboxRetention == 0 {
		c.OutboxRetention = 3 * 24 * time.Hour
	}
	if c.InboxRetention == 0 {
		c.InboxRetention = 15 * 24 * time.Hour
	}
	if c.InboxRetention <= c.OutboxRetention {
		return c, fmt.Errorf("service: config: InboxRetention (%s) must be longer than OutboxRetention (%s): what an outbox can replay, every inbox must still know",
			c.InboxRetention, c.OutboxRetention)
	}
	if c.LockPatience == 0 {
		c.LockPatience = min(5*time.Minute, c.InboxRetention/2)
	}
	if c.LockPatience >= c.InboxRetention {
		return c, fmt.Errorf("service: config: LockPatience (%s) must be shorter than InboxRetention (%s): whoever has waited is still to be known", c.LockPatience, c.InboxRetention)
	}
	if c.OutboxRetention < 0 {
		return c, errors.New("service: config: OutboxRetention is negative")
	}
	return c, nil
}

func (c Config) inbox(logger *slog.Logger) inbox.Config {
	return inbox.Config{
		Logger: logger, BatchSize: c.BatchSize, HandlerTimeout: c.HandlerTimeout, MaxAttempts: c.MaxAttempts, MaxHops: c.MaxHops,
		LeaseTTL: c.LeaseTTL, Retention: c.InboxRetention, LockPatience: c.LockPatience, Now: c.Now,
	}
}

func (c Config) relay(logger *slog.Logger) relay.Config {
	return relay.Config{Logger: logger, LeaseTTL: c.LeaseTTL, Retention: c.OutboxRetention}
}
