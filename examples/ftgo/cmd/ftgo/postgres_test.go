package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/skald-go/skald/examples/ftgo/databases"
	"github.com/skald-go/skald/examples/ftgo/load"
	"github.com/skald-go/skald/internal/servers"
	"github.com/skald-go/skald/store/postgres"
)

// onPostgreSQL is FTGO in a process of its own, on a server of its own.
type onPostgreSQL struct {
	*testing.T
	server  *servers.Server
	shops   databases.Databases
	addr    string
	start   func() *server
	running *server
}

func startOnPostgreSQL(t *testing.T, binary string, relay postgres.Relay) *onPostgreSQL {
	t.Helper()
	s := &onPostgreSQL{T: t, server: servers.StartPostgreSQL(t), addr: freeAddress(t)}
	var err error
	if s.shops, err = databases.NewPostgres(s.server.URL(), relay); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	s.start = func() *server {
		return serve(t, binary, "--store", "postgres", "--dsn", s.server.URL(), "--relay", string(relay), "--data", data, "--addr", s.addr)
	}
	s.running = s.start()
	return s
}

// disturbed places orders and does one thing after the other meanwhile.
func (s *onPostgreSQL) disturbed(orders int, disturbances ...func()) {
	s.Helper()
	const open = 20
	done := 0
	report := underLoad(s.T, s.addr, orders, func(c load.Counts) {
		if done < len(disturbances) && c.Open >= open && c.Accepted >= (done+1)*orders/(len(disturbances)+1) {
			s.Logf("disturbance %d with %d sagas open", done+1, c.Open)
			disturbances[done]()
			done++
		}
	})
	if !report.OK() || done != len(disturbances) {
		s.Errorf("after %d disturbances: %+v", done, report)
	}
	cleanOn(s.T, s.shops, 30*time.Second)
	s.running.terminate(s.T)
	cleanOn(s.T, s.shops, 0)
}

func (s *onPostgreSQL) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *onPostgreSQL) kill() {
	s.running.kill(s.T)
	s.running = s.start()
}

// crash kills the server, and it recovers from its log.
func (s *onPostgreSQL) crash() {
	s.must(s.server.Kill())
	s.must(s.server.Start(s.Context()))
}

// restart stops the server in good order, and starts it again.
func (s *onPostgreSQL) restart() {
	s.must(s.server.Stop())
	s.must(s.server.Start(s.Context()))
}

// Whichever of the application and its database server dies under load, and comes back, nothing
// is lost and nothing is done twice.
//
// Faults: 16.
func TestApplicationAndPostgreSQLKilledUnderLoad(t *testing.T) {
	binary := build(t)
	for _, relay := range []postgres.Relay{postgres.Tail, postgres.Poll} {
		t.Run(string(relay), func(t *testing.T) {
			s := startOnPostgreSQL(t, binary, relay)
			s.disturbed(400, s.kill, s.restart, s.kill, s.crash, s.kill)
		})
	}
}

// The replication slot of one service is dropped under load. Its relay says so, reads the outbox
// itself, and then the log again from a new slot.
//
// Faults: 37.
func TestTheSlotIsDroppedUnderLoad(t *testing.T) {
	s := startOnPostgreSQL(t, build(t), postgres.Tail)
	s.disturbed(400, func() {
		s.awaitSlot()
		s.dropSlot()
	}, s.awaitSlot)
	if log := s.running.log.String(); !strings.Contains(log, "replication slot") {
		t.Errorf("nobody said that the slot is gone:\n%s", log)
	}
}

// query reads a number from the database of the order service.
func (s *onPostgreSQL) query(query string) (n int, err error) {
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, strings.Replace(s.server.URL(), "/postgres?", "/ftgo_order?", 1))
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	return n, conn.QueryRow(ctx, query).Scan(&n)
}

const mine = " FROM pg_replication_slots WHERE database = 'ftgo_order'"

// awaitSlot waits until the relay of the order service reads the log.
func (s *onPostgreSQL) awaitSlot() {
	s.Helper()
	s.eventually("the relay reads the log", func() bool {
		n, err := s.query("SELECT count(*)" + mine + " AND active")
		s.must(err)
		return n == 1
	})
}

func (s *onPostgreSQL) dropSlot() {
	s.Helper()
	s.eventually("the slot is dropped", func() bool {
		_, err := s.query("SELECT count(pg_terminate_backend(active_pid, 5000)) + count(pg_drop_replication_slot(slot_name))" + mine)
		return err == nil // else the relay was faster than we
	})
}

func (s *onPostgreSQL) eventually(what string, holds func() bool) {
	s.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-deadline.C:
			s.Fatalf("not in time: %s", what)
		}
	}
}
