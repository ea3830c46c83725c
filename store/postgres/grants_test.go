package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/skaldtest"
	"github.com/skald-go/skald/store/postgres"
)

// newRole makes a role that may log in and owns nothing, and returns its name, which wants quoting,
// and the database's URL for it. Attributes are those of CREATE ROLE.
func newRole(t *testing.T, database, attributes string) (role, roleURL string) {
	t.Helper()
	role = `skald's $$ "` + strings.ToLower(rand.Text())
	name := pgx.Identifier{role}.Sanitize()
	admin, err := pgx.Connect(t.Context(), database)
	must(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		defer admin.Close(ctx)
		_, err := admin.Exec(ctx, "DROP OWNED BY "+name+"; DROP ROLE "+name)
		must(t, err)
	})
	_, err = admin.Exec(t.Context(), "CREATE ROLE "+name+" LOGIN PASSWORD 'secret' "+attributes)
	must(t, err)
	address, err := url.Parse(database)
	must(t, err)
	address.User = url.UserPassword(role, "secret")
	return role, address.String()
}

// relayRole makes a role with the relay's grants and no others, on a database whose tables are
// the owner's.
func relayRole(t *testing.T, owner *postgres.Store, attributes string) (role, roleURL string) {
	t.Helper()
	role, roleURL = newRole(t, owner.Pool().Config().ConnString(), attributes)
	exec(t, owner, postgres.RelayGrants(role))
	return role, roleURL
}

// inSchema is a database's URL with a schema of its own on the search path, in which nobody has
// rights but its owner.
func inSchema(t *testing.T, database string) string {
	t.Helper()
	_, err := connect(t, database).Exec(t.Context(), `CREATE SCHEMA "of the shop"`)
	must(t, err)
	address, err := url.Parse(database)
	must(t, err)
	query := address.Query()
	query.Set("search_path", `"of the shop"`)
	address.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // pgx takes a plus as it is
	return address.String()
}

// publishing has a relay publish what the store's outbox has, until stop is called.
func publishing(t *testing.T, store *postgres.Store, broker relay.Publisher) (stop func()) {
	t.Helper()
	_, stop = runs(t, store, broker, relay.Config{LeaseTTL: 3 * time.Second, RetryUnpublished: 50 * time.Millisecond})
	return stop
}

// published waits until the broker has so many messages of the test's channel.
func published(t *testing.T, broker *skaldtest.Broker, n int) {
	t.Helper()
	eventually(t, "a broker with all of the messages", func() bool { return len(broker.Messages("orders")) >= n })
}

func TestTheRelaysGrantsAreEnoughForAllThatItDoes(t *testing.T) {
	for _, c := range []struct {
		how        postgres.Relay
		attributes string
	}{
		{postgres.Tail, "REPLICATION"}, {postgres.TailOnly, "REPLICATION"}, {postgres.Poll, "NOREPLICATION"},
	} {
		t.Run(string(c.how), func(t *testing.T) {
			config := postgres.Config{Relay: c.how}
			owner := open(t, connect(t, inSchema(t, database(t))), config)
			_, url := relayRole(t, owner, c.attributes)
			store := open(t, connect(t, url), config)
			broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
			broker.RejectIf(func(m *skald.Message) error {
				if m.Key == "refused" {
					return errors.New("not this one")
				}
				return nil
			})
			add(t, owner, messages(3, "k")...)
			add(t, owner, messages(2, "refused")...)
			stop := publishing(t, store, broker)
			published(t, broker, 3)
			eventually(t, "a message that is held, with the one behind it", func() bool {
				return read[int](t, owner, "SELECT count(*) FROM skald_unpublished") == 2
			})
			broker.RejectIf(nil)
			published(t, broker, 5)
			eventually(t, "an end of the held messages", func() bool { return read[int](t, owner, "SELECT count(*) FROM skald_unpublished") == 0 })
			if c.how != postgres.Poll {
				tails(t, owner, broker)
				stop()
				// A slot that is ahead of what is settled is dropped, and another one made.
				exec(t, owner, "UPDATE skald_relay SET confirmed = '0/1'")
				stop = publishing(t, store, broker)
				eventually(t, "another slot", func() bool { return read[bool](t, owner, "SELECT confirmed > '0/1' FROM skald_relay") })
				tails(t, owner, broker)
			}
			eventually(t, "an outbox that is cleaned", func() bool {
				n, err := store.CleanOutbox(t.Context(), time.Now(), 1)
				must(t, err)
				return n > 0
			})
			lag, err := store.OutboxLag(t.Context())
			if must(t, err); c.how == postgres.Poll && lag.Messages != 0 {
				t.Errorf("the lag is %+v", lag)
			}
			stop()
		})
	}
}

// tails adds a message, and waits until the broker has it and the checkpoint is at it, at its place
// in the log.
func tails(t *testing.T, owner *postgres.Store, broker *skaldtest.Broker) {
	t.Helper()
	eventually(t, "a slot that is read", func() bool { return slotOf(t, owner).Active })
	before := endOfLog(t, owner)
	list := messages(1, "k")
	add(t, owner, list...)
	eventually(t, "the message at the broker", func() bool {
		return slices.ContainsFunc(broker.Messages("orders"), func(m skald.Message) bool { return m.ID == list[0].ID })
	})
	eventually(t, "a checkpoint at a place in the log", func() bool {
		return read[bool](t, owner, "SELECT position_commit > $1 AND position_commit & 1 = 0 FROM skald_relay", before)
	})
}

// Faults: 101.
func TestTheRelaysRoleDoesNothingElse(t *testing.T) {
	owner := withTable(t)
	role, url := relayRole(t, owner, "REPLICATION")
	store := open(t, connect(t, url), postgres.Config{})
	for _, query := range []string{
		"SELECT id FROM orders", "SELECT count(*) FROM orders", "INSERT INTO orders VALUES (1)", "COPY orders TO STDOUT",
		"SELECT FROM skald_sagas", "SELECT FROM skald_history", "SELECT FROM skald_inbox", "SELECT FROM skald_held", "SELECT FROM skald_barriers",
		"SELECT * FROM skald_load_sagas(ARRAY[]::uuid[])",
		"INSERT INTO skald_outbox (bucket, id, channel, key, type, message) VALUES (0, gen_random_uuid(), '', '', '', '')",
		"INSERT INTO skald_outbox_0 (bucket, id, channel, key, type, message) VALUES (0, gen_random_uuid(), '', '', '', '')",
		"UPDATE skald_outbox SET message = ''", "DELETE FROM skald_outbox", "TRUNCATE skald_outbox", "TRUNCATE skald_held",
		"UPDATE skald_migrations SET version = 0", "DELETE FROM skald_relay", "INSERT INTO skald_relay (one) VALUES (true)",
		"ALTER TABLE skald_outbox ADD COLUMN more text", "CREATE PUBLICATION more FOR TABLE orders",
	} {
		_, err := store.Pool().Exec(t.Context(), query)
		if e := (*pgconn.PgError)(nil); !errors.As(err, &e) || e.Code != "42501" {
			t.Errorf("%s: %v; want that permission is denied", query, err)
		}
	}
	const granted = `SELECT c.relname || ' ' || string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type)
FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a WHERE a.grantee = (SELECT oid FROM pg_roles WHERE rolname = $1) GROUP BY c.relname
UNION ALL SELECT c.relname || '.' || attname || ' ' || a.privilege_type
FROM pg_class AS c JOIN pg_attribute AS f ON f.attrelid = c.oid CROSS JOIN aclexplode(f.attacl) AS a WHERE a.grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)`
	rows, err := owner.Pool().Query(t.Context(), granted, role)
	must(t, err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	slices.Sort(got)
	want := []string{
		"skald_migrations SELECT", "skald_outbox SELECT", "skald_outbox.xid UPDATE",
		"skald_outbox_0 SELECT TRUNCATE", "skald_outbox_1 SELECT TRUNCATE", "skald_outbox_2 SELECT TRUNCATE", "skald_outbox_3 SELECT TRUNCATE",
		"skald_relay SELECT UPDATE", "skald_unpublished DELETE INSERT SELECT UPDATE",
	}
	if !slices.Equal(got, want) {
		t.Errorf("granted are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheRelaysRoleNoticesThatTheDatabaseIsACopy(t *testing.T) {
	owner := fresh(t)
	add(t, owner, messages(2, "k")...)
	_, url := relayRole(t, owner, "NOREPLICATION")
	exec(t, owner, "UPDATE skald_relay SET cluster = 'another/1', floor = pg_current_snapshot(), position_commit = 99")
	store := open(t, connect(t, url), postgres.Config{Relay: postgres.Poll})
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publishing(t, store, broker)
	published(t, broker, 2)
}

func TestARoleThatMayNotMigrateSaysWhoHasTo(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(owner *postgres.Store, role string)
		want    []string
	}{
		"no tables": {
			func(owner *postgres.Store, _ string) {
				exec(t, owner, "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
			},
			[]string{"has no tables of Skald's", "open the store once with the role that owns", "Schema()", "permission denied"},
		},
		"no schema": {
			func(owner *postgres.Store, _ string) { exec(t, owner, "REVOKE ALL ON SCHEMA public FROM PUBLIC") },
			[]string{"has no tables of Skald's", "USAGE", "RelayGrants"},
		},
		"an old one": {
			func(owner *postgres.Store, role string) {
				exec(t, owner, postgres.RelayGrants(role)+"DELETE FROM skald_migrations; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
			},
			[]string{"this program needs version", "open the store once with the role that owns"},
		},
		"no grants": {
			func(*postgres.Store, string) {},
			[]string{"has no right on Skald's tables", "RelayGrants", "permission denied for table skald_migrations"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			owner := fresh(t)
			role, url := newRole(t, owner.Pool().Config().ConnString(), "REPLICATION")
			c.prepare(owner, role)
			began := time.Now()
			_, err := postgres.Open(t.Context(), connect(t, url), postgres.Config{})
			if err == nil {
				t.Fatal("the store opened")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Open says %q, and not %q", err, want)
				}
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("Open tried again for %s what cannot pass by itself", took)
			}
		})
	}
}

func TestARelayThatMayNotReplicatePollsAndSaysWhatToDo(t *testing.T) {
	owner := fresh(t)
	_, url := relayRole(t, owner, "NOREPLICATION")
	var log journal
	store := open(t, connect(t, url), postgres.Config{Logger: log.logger()})
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publishing(t, store, broker)
	for n := range 3 {
		add(t, owner, messages(1, "k")...)
		published(t, broker, n+1)
	}
	eventually(t, "word of what is to be done", func() bool {
		return log.has(slog.LevelError, "polling the table", "may not replicate", "ALTER ROLE", "REPLICATION", "or open the store with Relay")
	})
}

func TestAServerWhoseLogIsNotForReplicationIsPolledAndSaysWhatToDo(t *testing.T) {
	server := servers.StartPostgreSQL(t, "wal_level=replica")
	var log journal
	store := open(t, connect(t, server.URL()), postgres.Config{Logger: log.logger()})
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publishing(t, store, broker)
	add(t, store, messages(1, "k")...)
	published(t, broker, 1)
	eventually(t, "word of what is to be done", func() bool {
		return log.has(slog.LevelError, "polling the table", "set wal_level = logical and restart the server")
	})
}

func TestARelayThatMayNotReadTheSlotThatIsThereSaysWhatToDo(t *testing.T) {
	owner := fresh(t)
	stop := publishing(t, owner, skaldtest.NewBroker(skaldtest.BrokerConfig{}))
	eventually(t, "a slot", func() bool { return read[bool](t, owner, "SELECT confirmed > '0/0' FROM skald_relay") })
	stop()
	_, url := relayRole(t, owner, "NOREPLICATION")
	store := open(t, connect(t, url), postgres.Config{})
	cursor, err := store.OpenOutbox(t.Context(), relay.Position{})
	if err == nil {
		must(t, cursor.Close())
	}
	if err == nil || !strings.Contains(err.Error(), "REPLICATION") {
		t.Errorf("OpenOutbox returned %v", err)
	}
}

func TestAMissingPublicationIsNamedByARoleThatMayNotMakeIt(t *testing.T) {
	owner := fresh(t)
	exec(t, owner, "DROP PUBLICATION skald_outbox")
	_, url := relayRole(t, owner, "REPLICATION")
	var log journal
	store := open(t, connect(t, url), postgres.Config{Logger: log.logger()})
	broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
	publishing(t, store, broker)
	add(t, owner, messages(1, "k")...)
	published(t, broker, 1)
	eventually(t, "word of what is to be done", func() bool {
		return log.has(slog.LevelError, "as the tables' owner, run CREATE PUBLICATION skald_outbox FOR TABLE skald_outbox")
	})
}

// serviceRole makes a role that may do everything with the tables, and may not replicate.
func serviceRole(t *testing.T, owner *postgres.Store) (url string) {
	t.Helper()
	role, url := newRole(t, owner.Pool().Config().ConnString(), "NOREPLICATION")
	name := pgx.Identifier{role}.Sanitize()
	exec(t, owner, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+name+"; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "+name)
	return url
}

func TestAServiceNeedsNoReplicationWhenItsRelayIsElsewhere(t *testing.T) {
	for _, how := range []postgres.Relay{postgres.Tail, postgres.TailOnly, postgres.Emit} {
		t.Run(string(how), func(t *testing.T) {
			config := postgres.Config{Relay: how}
			owner := fresh(t)
			_, url := relayRole(t, owner, "REPLICATION")
			elsewhere := open(t, connect(t, url), config)
			var log journal
			config.Logger = log.logger()
			service := open(t, connect(t, serviceRole(t, owner)), config)
			broker := skaldtest.NewBroker(skaldtest.BrokerConfig{})
			publishing(t, elsewhere, broker)
			add(t, service, messages(2, "k")...)
			published(t, broker, 2)
			if log.has(slog.LevelError) || log.has(slog.LevelWarn) {
				t.Errorf("the service's store complains: %q", log.lines)
			}
		})
	}
}

func TestEmittingBeforeThereIsASlotSaysWhoMakesIt(t *testing.T) {
	owner := fresh(t)
	url := serviceRole(t, owner)
	began := time.Now()
	_, err := postgres.Open(t.Context(), connect(t, url), postgres.Config{Relay: postgres.Emit})
	if err == nil || !strings.Contains(err.Error(), "may not replicate") || !strings.Contains(err.Error(), "a relay that runs elsewhere makes it") {
		t.Errorf("Open returned %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Open tried again for %s what cannot pass by itself", took)
	}
}
