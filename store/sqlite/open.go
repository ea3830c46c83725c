package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

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

// Config is optional.
type Config struct {
	// BusyTimeout is how long a statement waits for the file's lock. Defaults to 10 seconds.
	BusyTimeout time.Duration
	// AcceptSynchronous names a weaker setting than FULL that is accepted. With NORMAL a power
	// failure may undo commits whose messages are at the broker already, and with OFF it may
	// damage the file: for tests and for data that can be made anew. Defaults to none.
	AcceptSynchronous Synchronous
}

// Synchronous is a value of SQLite's PRAGMA synchronous.
type Synchronous string

// The settings that are unsafe, and therefore need to be named.
const (
	SynchronousNormal Synchronous = "NORMAL"
	SynchronousOff    Synchronous = "OFF"
)

// levels are the numbers that PRAGMA synchronous answers.
var levels = map[Synchronous]int{SynchronousOff: 0, SynchronousNormal: 1, "": 2}

func (c Config) validate() (Config, error) {
	var faults []error
	if _, ok := levels[c.AcceptSynchronous]; !ok {
		faults = append(faults, fmt.Errorf("sqlite: AcceptSynchronous %q: %s, %s or nothing, which means FULL", c.AcceptSynchronous, SynchronousNormal, SynchronousOff))
	}
	if c.BusyTimeout < 0 {
		faults = append(faults, fmt.Errorf("sqlite: BusyTimeout %s: must not be negative", c.BusyTimeout))
	}
	if c.BusyTimeout == 0 {
		c.BusyTimeout = 10 * time.Second
	}
	return c, errors.Join(faults...)
}

// Store implements the stores of packages outbox, inbox, relay and saga on one database.
// It is safe for concurrent use.
type Store struct {
	db       *sql.DB
	config   Config
	owned    bool // the store opened db and closes it
	prepared []prepared
	bound    bound
	news     news

	// turn holds a token while somebody writes: writers queue here instead of spinning on the
	// file's lock.
	turn    chan struct{}
	writer  *writer // guarded by turn; nil until needed and after a failure
	current atomic.Pointer[Batch]
	closed  atomic.Bool
}

// maxOpen bounds the connections of a database that the store opened. Readers beyond it
// wait for their turn, which takes less than one more connection would: each takes memory and
// locks, and thousands of them keep everybody from getting anywhere.
const maxOpen = 32

// Open opens or creates the database file at path, in WAL mode with full synchronization,
// and brings Skald's tables up to date. Close the store after use.
func Open(ctx context.Context, path string, config Config) (*Store, error) {
	config, err := config.validate()
	if err != nil {
		return nil, err
	}
	if path, err = checkFile(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(path, config))
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	// Readers come back to warm connections: SQLite itself bounds what they can do at once.
	db.SetMaxIdleConns(8)
	db.SetMaxOpenConns(maxOpen)
	s := newStore(db, config)
	s.owned = true
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("%w (database file %s)", errors.Join(err, s.Close()), path)
	}
	return s, nil
}

// New makes a store of a database that the application has opened with the driver
// modernc.org/sqlite, and brings Skald's tables up to date. The database must be in WAL mode
// with full synchronization, and the pool must allow at least four connections. Closing the
// store does not close the database.
func New(ctx context.Context, db *sql.DB, config Config) (*Store, error) {
	config, err := config.validate()
	if err != nil {
		return nil, err
	}
	if db == nil {
		return nil, errors.New("sqlite: no database given")
	}
	if n := db.Stats().MaxOpenConnections; n > 0 && n < 4 {
		return nil, fmt.Errorf("sqlite: the pool allows %d open connections: the store needs at least 4, one to write and the others to read", n)
	}
	s := newStore(db, config)
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func newStore(db *sql.DB, config Config) *Store {
	return &Store{db: db, config: config, prepared: make([]prepared, len(statements)), turn: make(chan struct{}, 1)}
}

// start checks the database and migrates it, again while another process is busy doing
// the same.
func (s *Store) start(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, s.config.BusyTimeout)
	defer cancel()
	for {
		err := s.check(ctx)
		if err == nil {
			err = s.migrate(ctx)
		}
		if err == nil {
			err = s.prepareAll(ctx)
		}
		if err == nil || !s.Retryable(err) || patience.Err() != nil {
			return err
		}
		if pause(patience, 20*time.Millisecond) != nil {
			return err
		}
	}
}

// checkFile makes the path absolute and finds out early, and in words, what SQLite would
// report as "unable to open the database file".
func checkFile(path string) (string, error) {
	if path == "" || path == ":memory:" {
		return "", fmt.Errorf("sqlite: path %q: the store needs a file, because its readers and its writer are separate connections", path)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite: path %s: %w", path, err)
	}
	if info, err := os.Stat(absolute); err == nil && info.IsDir() {
		return "", fmt.Errorf("sqlite: %s is a folder: give the path of a file in it, for example %s", absolute, filepath.Join(absolute, "service.db"))
	}
	folder := filepath.Dir(absolute)
	// SQLite makes files beside the database, so it is the folder that must be writable.
	probe, err := os.CreateTemp(folder, ".skald-*")
	if err != nil {
		return "", fmt.Errorf("sqlite: cannot write in the folder %s: create it, or give this process the right to write there (SQLite keeps files beside the database): %w", folder, err)
	}
	return absolute, errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func dataSource(path string, config Config) string {
	synchronous := config.AcceptSynchronous
	if synchronous == "" {
		synchronous = "FULL"
	}
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", config.BusyTimeout.Milliseconds()),
			"journal_mode(WAL)",
			fmt.Sprintf("synchronous(%s)", synchronous),
			"foreign_keys(1)",
		},
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + query.Encode()
}

// DB is the database, on which the application begins its own transactions.
func (s *Store) DB() *sql.DB { return s.db }

// Close releases what the store holds, and closes the database if the store opened it. A
// batch that is still open keeps its connection until it ends.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	var faults []error
	select {
	case s.turn <- struct{}{}:
		s.dropWriter()
		<-s.turn
	default: // the batch drops it when it ends
	}
	for i := range s.prepared {
		faults = append(faults, s.prepared[i].close())
	}
	if s.owned {
		faults = append(faults, s.db.Close())
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("sqlite: close: %w", err)
	}
	return nil
}
