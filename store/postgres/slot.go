package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// publication is the name of what the relay tails.
const publication = "skald_outbox"

// slotState is what the server says of the replication slot.
type slotState struct {
	exists    bool
	lost      bool   // the log that it needs is gone
	foreign   string // why it is not the one that this store made; empty when it is
	active    int32  // the server's process that reads it; 0 when none does
	confirmed place
	retained  int64 // bytes of the log that it holds back
}

const readSlot = `SELECT coalesce(wal_status, '') = 'lost', slot_type, coalesce(plugin, ''), coalesce(database, ''), current_database(),
coalesce(active_pid, 0), coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
FROM pg_replication_slots WHERE slot_name = $1`

func (s *Store) slot(ctx context.Context) (slotState, error) {
	state := slotState{exists: true}
	var kind, plugin, database, ours, confirmed string
	err := s.pool.QueryRow(ctx, readSlot, s.source.slot).
		Scan(&state.lost, &kind, &plugin, &database, &ours, &state.active, &confirmed, &state.retained)
	if errors.Is(err, pgx.ErrNoRows) {
		return slotState{}, nil
	}
	if err != nil {
		return slotState{}, failure("look at the replication slot "+s.source.slot, err)
	}
	if kind != "logical" || plugin != "pgoutput" || database != ours {
		state.foreign = fmt.Sprintf("it is a %s slot of plugin %q on database %q", kind, plugin, database)
	}
	state.confirmed, err = parsePlace(confirmed)
	return state, err
}

// replicate connects for logical replication, as the pool connects: a password that its BeforeConnect
// gives may be valid for minutes only.
func (s *Store) replicate(ctx context.Context) (*pgconn.PgConn, error) {
	pool := s.pool.Config()
	config := pool.ConnConfig
	if pool.BeforeConnect != nil {
		if err := pool.BeforeConnect(ctx, config); err != nil {
			return nil, fmt.Errorf("the pool's BeforeConnect: %w", err)
		}
	}
	config.RuntimeParams["replication"] = "database"
	config.RuntimeParams["application_name"] = "skald relay"
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	return conn, s.noReplication(err)
}

// madeSlot is a new slot: where it begins, and a snapshot that sees exactly what had committed
// before.
type madeSlot struct {
	from     place
	snapshot string
}

// createSlot makes the slot. It waits for the transactions that are under way on the server, which
// may take long.
func (s *Store) createSlot(ctx context.Context) (made madeSlot, err error) {
	if err := s.publish(ctx); err != nil {
		return made, err
	}
	conn, err := s.replicate(ctx)
	if err != nil {
		return made, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // ends what waits on the server, too
	results, err := conn.Exec(ctx, "CREATE_REPLICATION_SLOT "+s.source.slot+" LOGICAL pgoutput (SNAPSHOT 'export')").ReadAll()
	if err != nil {
		return made, s.noReplication(err)
	}
	if len(results) == 0 || len(results[0].Rows) == 0 || len(results[0].Rows[0]) < 3 {
		return made, errors.New("the server's answer to CREATE_REPLICATION_SLOT was not understood")
	}
	row := results[0].Rows[0]
	if made.from, err = parsePlace(string(row[1])); err != nil {
		return made, err
	}
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, s.pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+string(row[2])+"'"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&made.snapshot)
	})
	if err == nil {
		made.snapshot, err = ordered(made.snapshot)
	}
	return made, err
}

// ordered makes a snapshot's text one that the server takes. It counts a slot's xmax from the commits
// that it saw while the slot was made, and its xmin from what ran last: so the xmin may be beyond, and then
// says alone what the snapshot sees.
func ordered(snapshot string) (string, error) {
	var xmin, xmax uint64
	if _, err := fmt.Sscanf(snapshot, "%d:%d:", &xmin, &xmax); err != nil {
		return "", fmt.Errorf("the server's snapshot %q: %w", snapshot, err)
	}
	if xmin > xmax {
		return fmt.Sprintf("%d:%[1]d:", xmin), nil
	}
	return snapshot, nil
}

const makePublication = "CREATE PUBLICATION " + publication + " FOR TABLE skald_outbox WITH (publish = 'insert', publish_via_partition_root = true)"

// publish makes the publication if somebody has dropped it. It comes before the slot: a slot that
// reads a part of the log in which there was none is stuck there for ever.
func (s *Store) publish(ctx context.Context) error {
	var published bool
	err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", publication).Scan(&published)
	if err != nil || published {
		return err
	}
	s.config.Logger.Error("postgres: the publication is gone; making it again", "publication", publication)
	_, err = s.pool.Exec(ctx, makePublication)
	if hasCode(err, codeInsufficientPrivilege) {
		err = fmt.Errorf("the role %q may not make it again: as the tables' owner, run %s: %w", s.role(), makePublication, err)
	}
	return err
}

// dropSlot removes the slot. Whoever reads it holds no lease any more, or is this process itself.
func (s *Store) dropSlot(ctx context.Context) error {
	for attempt := range 20 {
		state, err := s.slot(ctx)
		if err != nil || !state.exists {
			return err
		}
		if state.active != 0 {
			if err := s.endReader(ctx, state.active); err != nil {
				return err
			}
		}
		_, err = s.pool.Exec(ctx, "SELECT pg_drop_replication_slot($1)", s.source.slot)
		if hasCode(err, codeUndefinedObject) { // it went with the process that was making it
			return nil
		}
		if err == nil || !hasCode(err, codeObjectInUse) {
			return failure("drop the replication slot "+s.source.slot, err)
		}
		if err := pause(ctx, time.Duration(attempt+1)*10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("postgres: the replication slot %s is still in use, and could not be dropped", s.source.slot)
}

// leaveSlot drops the slot of a relay that tailed, now that it is to poll: nobody would read it any more,
// and it would hold the log back until the server's disk is full.
func (s *Store) leaveSlot(ctx context.Context) error {
	state, err := s.slot(ctx)
	if err != nil || !state.exists || state.foreign != "" {
		return err
	}
	var emitted bool
	if err := s.pool.QueryRow(ctx, "SELECT emitted FROM skald_relay").Scan(&emitted); err != nil {
		return err
	}
	if emitted {
		return fmt.Errorf("the replication slot %s may be the only copy of messages that were emitted and are not published yet, and with Relay %q nobody would read it: open the store with Relay %q, which reads both, until the slot is past the last of them; then set skald_relay.emitted to false", s.source.slot, Poll, Tail)
	}
	s.config.Logger.Warn("postgres: the relay polls, and does not need its replication slot any more; dropping it", "slot", s.source.slot)
	if err := s.dropSlot(ctx); err != nil {
		s.config.Logger.Error("postgres: the replication slot is left over and holds back the log; drop it by hand", "slot", s.source.slot, "error", err)
	}
	return nil
}

// endReader ends the server's process that reads the slot: that of an instance which has lost the
// lease, or died without the server's knowing.
func (s *Store) endReader(ctx context.Context, process int32) error {
	_, err := s.pool.Exec(ctx, "SELECT pg_terminate_backend($1)", process)
	return failure("end the server's process "+strconv.Itoa(int(process))+", which reads the slot for another instance", err)
}
