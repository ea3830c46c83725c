package servers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Database creates a database with a name of its own on the server that the URL leads to,
// and returns its URL. At the test's end it is dropped, with its replication slots and
// whoever is still connected.
func Database(t testing.TB, server string) string {
	t.Helper()
	address, err := url.Parse(server)
	if err != nil || !strings.HasPrefix(address.Scheme, "postgres") {
		t.Fatalf("servers: create a database: the server's address is to be a URL, postgres://user:password@host:port/database, and is not") // it may hold a password
	}
	conn, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatalf("servers: create a database: %v", err)
	}
	name := "skald_" + strings.ToLower(rand.Text())
	_, err = conn.Exec(t.Context(), "CREATE DATABASE "+name)
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatalf("servers: create a database: %v", err)
	}
	t.Cleanup(func() { drop(t, server, name) })
	address.Path = "/" + name
	return address.String()
}

// drop leaves nothing of the database. A server that is gone has taken it along.
func drop(t testing.TB, server, name string) {
	t.Helper()
	const patience = time.Minute
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Logf("servers: database %s is not dropped: %v", name, err)
		return
	}
	defer conn.Close(ctx)
	for first := true; first || overtaken(err); first = false { // a slot may have been in the making
		err = dropSlots(ctx, conn, name)
		if err == nil {
			_, err = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		}
	}
	if err != nil {
		t.Errorf("servers: drop the database %s: %v", name, err)
	}
}

// dropSlots ends those who use the database's replication slots and drops the slots.
func dropSlots(ctx context.Context, conn *pgx.Conn, database string) error {
	for {
		rows, err := conn.Query(ctx, `SELECT slot_name::text, active_pid FROM pg_replication_slots WHERE database = $1`, database)
		if err != nil {
			return err
		}
		slots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
			Name string
			User *int32
		}])
		if err != nil || len(slots) == 0 {
			return err
		}
		for _, slot := range slots {
			if slot.User != nil {
				_, err = conn.Exec(ctx, `SELECT pg_terminate_backend($1, 5000)`, *slot.User) // waits for it, 5 s at most
			} else {
				_, err = conn.Exec(ctx, `SELECT pg_drop_replication_slot($1)`, slot.Name)
			}
			if err != nil && !overtaken(err) {
				return fmt.Errorf("replication slot %s: %w", slot.Name, err)
			}
		}
	}
}

// overtaken says that somebody took the slot, or dropped it, after we had looked: the next
// look shows which.
func overtaken(err error) bool {
	const undefinedObject, objectInUse = "42704", "55006"
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (refused.Code == undefinedObject || refused.Code == objectInUse)
}
