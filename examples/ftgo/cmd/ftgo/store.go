package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/store/postgres"
)

// storeFlags name the databases.
type storeFlags struct{ data, store, dsn string }

func (s *storeFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&s.data, "data", "ftgo-data", "folder of SQLite's databases, of the embedded broker, and of the processes' addresses")
	flags.StringVar(&s.store, "store", "sqlite", "where the services keep their data: sqlite, postgres, mysql")
	flags.StringVar(&s.dsn, "dsn", "", "URL of the database server, for postgres and mysql, postgres://USER:PASSWORD@HOST:PORT (default: as PGHOST and its like say)")
}

// open finds the databases. Nothing is connected yet.
func (s *storeFlags) open(relay relayFlag) (databases.Databases, error) {
	if err := errors.Join(stores.check(s.store), relay.check(s.store)); err != nil {
		return nil, err
	}
	if s.store == "postgres" {
		server, err := databases.NewPostgres(s.dsn, postgres.Relay(relay))
		if err != nil {
			return nil, usageError{err}
		}
		return server, nil
	}
	if s.dsn != "" {
		return nil, usageError{fmt.Errorf("--dsn names a database server, and sqlite has none: its files are in --data %s", s.data)}
	}
	return databases.SQLite(s.data), nil
}

// relayFlag is how the outbox is read; empty for the store's own way.
type relayFlag string

func (r *relayFlag) register(flags *pflag.FlagSet) {
	flags.StringVar((*string)(r), "relay", "", "how the outbox is read: tail (the database's log), poll (default: tail with postgres, poll with sqlite)")
}

func (r relayFlag) check(store string) error {
	switch {
	case r != "" && r != "tail" && r != "poll":
		return usageError{fmt.Errorf("--relay %q: there is no such value; it is tail or poll", string(r))}
	case r == "tail" && store == "sqlite":
		return usageError{errors.New("--relay tail reads a database's log, and sqlite has none for that: it is poll")}
	default:
		return nil
	}
}
