package servers_test

import (
	"testing"

	"github.com/skald-go/skald/internal/servers"
)

func TestAStandbyFollowsUntilItIsPromoted(t *testing.T) {
	primary := servers.StartPostgreSQL(t)
	from := connect(t, primary.URL())
	exec1(t, from, `CREATE TABLE kept (n int)`)
	standby := servers.StartCopy(t, primary, true)
	exec1(t, from, `INSERT INTO kept VALUES (1)`)
	to := connect(t, standby.URL())
	eventually(t, "the standby to have the row", func() bool { return query[int](t, to, `SELECT count(*) FROM kept`) == 1 })
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, connect(t, standby.URL()), `INSERT INTO kept VALUES (2)`)
}

func TestACopyIsOfItsMoment(t *testing.T) {
	server := servers.StartPostgreSQL(t)
	exec1(t, connect(t, server.URL()), `CREATE TABLE kept AS SELECT 1`)
	running := servers.StartCopy(t, server, false)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	stopped := servers.StartCopy(t, server, false)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, connect(t, server.URL()), `INSERT INTO kept VALUES (2)`)
	for name, of := range map[string]*servers.Server{"the running": running, "the stopped": stopped} {
		if n := query[int](t, connect(t, of.URL()), `SELECT count(*) FROM kept`); n != 1 {
			t.Errorf("the copy of %s server has %d rows", name, n)
		}
	}
}
