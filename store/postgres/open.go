package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/outbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

var (
	_ outbox.Store = (*Store)(nil)
	_ inbox.Store  = (*Store)(nil)
	_ relay.Source = (*Store)(nil)
	_ saga.Store   = (*Store)(nil)
)

// Relay says how the relay reads the outbox.
type Relay string

const (
	// Tail reads the write-ahead log by logical replication, and polls the table while that is not
	// possible. Whoever adds a message of a key locks that key until the transaction ends, because
	// polling could not tell the order of commits otherwise.
	Tail Relay = "tail"
	// TailOnly is Tail without those locks. While it has to poll, messages of one key that were
	// added by transactions under way at the same time may be published in another order than that
	// of their commits.
	TailOnly Relay = "tail-only"
	// Poll reads the table only, for servers without logical replication.
	Poll Relay = "poll"
	// Emit writes messages to the log alone and not into a table: less work, but the replication
	// slot is the only copy. When the slot is lost, or the broker is wiped, what was not published is
	// gone; and nothing can be published again. Polling is refused after it, tailing is not.
	Emit Relay = "emit"
)

// Config is optional; its zero value works.
type Config struct {
	// Relay defaults to Tail.
	Relay Relay
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// SQL gives handlers a *sql.Tx of pgx's database/sql driver in place of a *Tx: for handlers that
	// are to run on several databases. The application begins its own on [Store.DB].
	SQL bool
	// Slot is the replication slot's name, unique in the cluster: lower-case letters, digits and
	// underscores. Defaults to "skald_" and the database's number.
	Slot string
	// WarnRetained is how much of the log the slot may hold back before a warning, in bytes.
	// Defaults to 1 GiB.
	WarnRetained int64
	// DropRetained is how much it may hold back before it is dropped, so that the server's disk
	// does not fill up: the relay reads the table then, and makes another one as soon as it publishes
	// again. Not with Emit. Defaults to never.
	DropRetained int64
	// AcceptUnsafe names server settings that may lose commits whose messages are at the broker
	// already, and are accepted all the same: "fsync", "full_page_writes", "synchronous_commit".
	AcceptUnsafe []string
}

func (c Config) withDefaults() (Config, error) {
	var faults []error
	switch c.Relay {
	case "":
		c.Relay = Tail
	case Tail, TailOnly, Poll, Emit:
	default:
		faults = append(faults, fmt.Errorf("postgres: Relay %q: %s, %s, %s or %s", c.Relay, Tail, TailOnly, Poll, Emit))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.WarnRetained == 0 {
		c.WarnRetained = 1 << 30
	}
	if c.WarnRetained < 0 || c.DropRetained < 0 {
		faults = append(faults, errors.New("postgres: WarnRetained and DropRetained must not be negative"))
	}
	if c.Relay == Emit && c.DropRetained > 0 {
		faults = append(faults, errors.New("postgres: DropRetained with Relay emit would drop the only copy of the messages"))
	}
	if c.Slot != "" && !validSlot(c.Slot) {
		faults = append(faults, fmt.Errorf("postgres: Slot %q: at most 63 lower-case letters, digits and underscores", c.Slot))
	}
	return c, errors.Join(faults...)
}

func validSlot(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) <= 63
}

// Store implements the stores of packages outbox, inbox, relay and saga on one database. It
// is safe for concurrent use.
type Store struct {
	pool   *pgxpool.Pool
	db     *sql.DB // the same connections, for database/sql
	config Config
	news   news
	source source
	// batches are the runtime's transactions of database/sql: *sql.Tx to *transaction.
	batches sync.Map
}

// minConnections is what the pool must allow: a batch, the relay's statements, the timers' and the
// leases', each at the same time as the others.
const minConnections = 4

// Open makes a store of the database that the pool leads to, and brings Skald's tables up to date.
// Closing the pool is the application's.
func Open(ctx context.Context, pool *pgxpool.Pool, config Config) (*Store, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if pool == nil {
		return nil, errors.New("postgres: no pool given")
	}
	if n := pool.Config().MaxConns; n < minConnections {
		return nil, fmt.Errorf("postgres: the pool allows %d connections: the store needs at least %d (pool_max_conns)", n, minConnections)
	}
	s := &Store{pool: pool, db: openSQL(pool), config: config}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// startPatience is how long Open tries again while the server is starting, or busy with another's
// migration.
const startPatience = 10 * time.Second

func (s *Store) start(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := s.check(ctx)
		if err == nil {
			err = s.migrate(ctx)
		}
		if err == nil {
			err = s.identify(ctx)
		}
		if err == nil || !s.Retryable(err) && !isNetwork(err) || patience.Err() != nil {
			return err
		}
		if pause(patience, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// pause waits, and returns ctx's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Pool is the pool on which the application begins its own transactions.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// DB is the pool as a *sql.DB, on which the application begins its own transactions too.
func (s *Store) DB() *sql.DB { return s.db }
