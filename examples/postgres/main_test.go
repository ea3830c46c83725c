package main

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/internal/servers"
)

func TestTheExampleDoesWhatItSays(t *testing.T) {
	dsn := servers.Database(t, servers.PostgreSQL(t))
	ctx := t.Context()
	admin, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := "shop_relay_" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		defer admin.Close(ctx)
		if _, err := admin.Exec(ctx, "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	if _, err := admin.Exec(ctx, "CREATE ROLE "+role+" LOGIN REPLICATION PASSWORD 'secret'"); err != nil {
		t.Fatal(err)
	}
	relay, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	relay.User = url.UserPassword(role, "secret")
	var out strings.Builder
	if err := run(ctx, &out, dsn, relay.String()); err != nil {
		t.Fatal(err)
	}
	const want = "order 4711 completed \norder 4712 compensated sold_out: there is not enough of it\n"
	if out.String() != want {
		t.Errorf("it printed\n%swant\n%s", out.String(), want)
	}
	var left int
	var states string
	err = admin.QueryRow(ctx, "SELECT units, (SELECT string_agg(state, ' ' ORDER BY id) FROM orders) FROM stock").Scan(&left, &states)
	if err != nil || left != 1 || states != "APPROVED REJECTED" {
		t.Errorf("%d units are left, and the orders are %s, %v", left, states, err)
	}
}
