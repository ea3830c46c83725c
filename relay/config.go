package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config of a relay; its zero value works.
type Config struct {
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// BatchSize is how many messages are read and published together at most. Defaults to 512.
	BatchSize int
	// LeaseTTL is how long a dead instance keeps the outbox. Defaults to 5 seconds.
	LeaseTTL time.Duration
	// Retention of published rows: within it, a broker that was wiped gets everything again.
	// Defaults to 3 days.
	Retention time.Duration
	// RetryUnpublished is how often a message that the broker refused is tried again. Defaults
	// to 30 seconds.
	RetryUnpublished time.Duration
}

func (c Config) withDefaults() (Config, error) {
	var faults []error
	for name, value := range map[string]int64{
		"BatchSize": int64(c.BatchSize), "LeaseTTL": int64(c.LeaseTTL), "Retention": int64(c.Retention), "RetryUnpublished": int64(c.RetryUnpublished),
	} {
		if value < 0 {
			faults = append(faults, fmt.Errorf("relay: config: %s is negative", name))
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.BatchSize == 0 {
		c.BatchSize = 512
	}
	for value, standard := range map[*time.Duration]time.Duration{
		&c.LeaseTTL: 5 * time.Second, &c.Retention: 3 * 24 * time.Hour, &c.RetryUnpublished: 30 * time.Second,
	} {
		if *value == 0 {
			*value = standard
		}
	}
	return c, errors.Join(faults...)
}
