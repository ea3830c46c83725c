package postgres_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/store/postgres"
)

// A password that is drawn anew for each connection is asked for by the log's connection as well.
func TestTheLogIsReadWithWhatThePoolsBeforeConnectGives(t *testing.T) {
	address, err := url.Parse(database(t))
	must(t, err)
	right := address.User.Username()
	address.User = url.User("nobody_of_this_name")
	config, err := pgxpool.ParseConfig(address.String())
	must(t, err)
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.User = right
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	must(t, err)
	t.Cleanup(pool.Close)
	reads(t, open(t, pool, postgres.Config{})).tail()
}
