package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skald-go/skald/relay"
)

// source is what the store knows of the relay's reading in this process.
type source struct {
	slot  string // the replication slot's name
	trail trail
	// confirmed is the place in the log up to which the server may forget, for the stream to tell.
	confirmed atomic.Uint64
	guarded   rhythm
}

const (
	readCluster = `SELECT (SELECT system_identifier::text FROM pg_control_system()), cluster,
(SELECT oid::text FROM pg_database WHERE datname = current_database()) FROM skald_relay`
	// Transaction ids and places in the log mean nothing in another cluster: all rows count as
	// written now, and nothing of them as settled.
	moveRows  = "UPDATE skald_outbox SET xid = pg_current_xact_id() WHERE $1 <> ''"
	moveRelay = `UPDATE skald_relay SET cluster = $2, position_commit = 0, position_index = 0, floor = '1:1:', bound = NULL, scanned = 0,
base = NULL, confirmed = '0/0', next_floor = NULL, next_place = NULL WHERE cluster = $1`
)

// identify compares the cluster with the one that the stored positions belong to.
func (s *Store) identify(ctx context.Context) error {
	var cluster, known, database string
	if err := s.pool.QueryRow(ctx, readCluster).Scan(&cluster, &known, &database); err != nil {
		return failure("identify the cluster", err)
	}
	if s.source.slot = s.config.Slot; s.source.slot == "" {
		s.source.slot = "skald_" + database
	}
	if here := cluster + "/" + database; here != known {
		if known != "" {
			s.config.Logger.Error("postgres: the database comes from another cluster, by dump and restore or as a copy: publishing everything again that its outbox holds; inboxes drop what they know",
				"cluster", here, "before", known)
		}
		if err := s.move(ctx, known, here); err != nil {
			return failure("note the database's cluster", err)
		}
	}
	if s.config.Relay == Emit {
		return s.startEmitting(ctx)
	}
	return nil
}

func (s *Store) move(ctx context.Context, from, to string) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // does nothing after the commit
	if _, err := tx.Exec(ctx, moveRows, from); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, moveRelay, from, to); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// startEmitting makes the slot before the first message: what is emitted without one is lost.
func (s *Store) startEmitting(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, "UPDATE skald_relay SET emitted = true WHERE NOT emitted"); err != nil {
		return failure("note that messages are emitted", err)
	}
	from, err := s.resume(ctx, relay.Position{})
	if err != nil || from.confirmed != 0 {
		return err
	}
	made, err := s.createSlot(ctx)
	if err == nil {
		err = s.adopt(ctx, made)
	}
	return failure("make the replication slot "+s.source.slot+", without which nothing can be emitted (a relay that runs elsewhere makes it, when it opens the store first)", err)
}

// resumption is where reading goes on.
type resumption struct {
	progress
	base string
}

// resume finds out what a position means: of the checkpoint, the table of the relay knows it; of
// others that were given out in this process, the trail.
func (s *Store) resume(ctx context.Context, after relay.Position) (resumption, error) {
	from := resumption{progress: progress{position: after}}
	var confirmed string
	err := s.pool.QueryRow(ctx, "SELECT floor::text, coalesce(bound::text, ''), scanned, coalesce(base::text, ''), confirmed::text FROM skald_relay").
		Scan(&from.floor, &from.bound, &from.scanned, &from.base, &confirmed)
	if err != nil {
		return from, err
	}
	if from.confirmed, err = parsePlace(confirmed); err != nil {
		return from, err
	}
	if step, ok := s.source.trail.find(after); ok && step.confirmed == 0 && !tailed(after) {
		step.confirmed = from.confirmed
		from.progress = step
	}
	return from, nil
}

const saveCheckpoint = `UPDATE skald_relay SET position_commit = $1, position_index = $2, mark = $3,
confirmed = greatest($4::pg_lsn, confirmed),
floor = CASE WHEN $5::pg_snapshot IS NOT NULL THEN $5
	WHEN next_place <= greatest($4, confirmed) AND ($4 IS NOT NULL OR bound IS NULL AND base IS NULL) THEN next_floor
	WHEN $4 IS NOT NULL THEN coalesce(base, bound, floor) ELSE floor END,
bound = CASE WHEN $5 IS NOT NULL THEN $6::pg_snapshot WHEN $4 IS NULL THEN bound END,
scanned = CASE WHEN $5 IS NOT NULL THEN $7 WHEN $4 IS NULL THEN scanned ELSE 0 END,
base = CASE WHEN $4 IS NULL AND ($6::pg_snapshot IS NOT NULL OR $5 IS NULL OR $5::text <> base::text) THEN base END,
next_floor = CASE WHEN next_place > greatest($4::pg_lsn, confirmed) THEN next_floor ELSE pg_current_snapshot() END,
next_place = CASE WHEN next_place > greatest($4::pg_lsn, confirmed) THEN next_place ELSE pg_current_wal_insert_lsn() END
WHERE holder = $8 AND epoch = $9`

// SaveCheckpoint implements [relay.Source]. What the position means is saved with it, and the
// server may forget the log up to there. The snapshot that is taken sees what is settled once the
// log is up to the place that it is taken with. A position within a transaction says less of the log
// than what [Store.followLog] may have noted since: it takes nothing of that back.
func (s *Store) SaveCheckpoint(ctx context.Context, lease relay.Lease, c relay.Checkpoint) error {
	var confirmed, floor, bound *string
	step, known := s.source.trail.find(c.Position)
	switch {
	case !known:
	case step.confirmed != 0:
		at := step.confirmed.String()
		confirmed = &at
	default:
		floor = &step.floor
		if step.bound != "" {
			bound = &step.bound
		}
	}
	err := fenced(s.pool.Exec(ctx, saveCheckpoint, int64(c.Position.Commit), int64(c.Position.Index), c.Mark,
		confirmed, floor, bound, step.scanned, lease.Holder, lease.Epoch))
	if err != nil {
		return failure(fmt.Sprintf("save the checkpoint %s", place(c.Position.Commit)), err)
	}
	s.source.trail.settled(c.Position)
	if step.confirmed != 0 {
		s.confirm(step.confirmed)
	}
	return nil
}

// confirm lets the stream tell the server up to where it may forget the log; never less than
// before.
func (s *Store) confirm(to place) {
	for {
		before := s.source.confirmed.Load()
		if uint64(to) <= before || s.source.confirmed.CompareAndSwap(before, uint64(to)) {
			return
		}
	}
}

// followLog notes that the log is settled up to a place although nothing of it concerned the
// outbox, once that is worth a write, or brings the floor up to what is settled.
func (s *Store) followLog(to place) error {
	const worth = 1 << 20
	ctx, cancel := context.WithTimeout(context.Background(), statusEvery)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `UPDATE skald_relay SET confirmed = $1::pg_lsn,
floor = CASE WHEN next_place <= $1::pg_lsn AND bound IS NULL AND base IS NULL THEN next_floor ELSE floor END,
next_floor = CASE WHEN next_place > $1::pg_lsn THEN next_floor END, next_place = CASE WHEN next_place > $1::pg_lsn THEN next_place END
WHERE confirmed < $1::pg_lsn AND ($1::pg_lsn - confirmed > $2 OR next_place <= $1::pg_lsn)`, to.String(), worth)
	if err == nil && tag.RowsAffected() > 0 {
		s.confirm(to)
	}
	return err
}

// adopt notes a new slot: what its snapshot does not see comes from the log.
func (s *Store) adopt(ctx context.Context, made madeSlot) error {
	_, err := s.pool.Exec(ctx, "UPDATE skald_relay SET confirmed = $1::pg_lsn, base = $2::pg_snapshot, next_floor = NULL, next_place = NULL",
		made.from.String(), made.snapshot)
	if err == nil {
		s.source.confirmed.Store(uint64(made.from))
	}
	return err
}

const (
	oldestUnsettled = `SELECT seq, added_at FROM skald_outbox, skald_relay WHERE
(xid >= pg_snapshot_xmax(floor) OR xid = ANY (ARRAY (SELECT pg_snapshot_xip(floor) FROM skald_relay)))
AND (bound IS NULL OR seq > scanned OR NOT pg_visible_in_snapshot(xid, bound)) ORDER BY seq LIMIT 1`
	newestRow = "SELECT coalesce(max(seq), 0) FROM skald_outbox"
)

// OutboxLag implements [relay.Source]. Messages counts those that are not known to be settled: some
// that were published within the last seconds are among them.
func (s *Store) OutboxLag(ctx context.Context) (relay.Lag, error) {
	var oldest, newest int64
	var added time.Time
	rows, err := s.pool.Query(ctx, oldestUnsettled)
	if err == nil {
		err = scanRows(rows, func(r row) error { return r.Scan(&oldest, &added) })
	}
	if err == nil && oldest > 0 {
		err = s.pool.QueryRow(ctx, newestRow).Scan(&newest)
	}
	if err != nil {
		return relay.Lag{}, failure("measure the outbox's lag", err)
	}
	if oldest == 0 {
		return relay.Lag{}, nil
	}
	return relay.Lag{Messages: newest - oldest + 1, Age: max(time.Since(added), 0)}, nil
}

// allVisible looks for transactions that the snapshot sees and that run for others: those that their
// snapshots list, and those that are so new that they lie behind the list's end.
const allVisible = `SELECT NOT EXISTS (SELECT FROM (
	SELECT pg_snapshot_xip(pg_current_snapshot())
	UNION ALL
	SELECT n::text::xid8 FROM generate_series(pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_snapshot_xmax($1::pg_snapshot)::text::bigint - 1) AS n
) AS running (xid) WHERE pg_visible_in_snapshot(xid, $1::pg_snapshot))`

// visible waits until everything that a snapshot sees is visible to others too: a commit that waits
// for a standby is in the log, and in a snapshot that was made from the log, before it is.
func (s *Store) visible(ctx context.Context, snapshot string) error {
	for {
		var visible bool
		err := s.pool.QueryRow(ctx, allVisible, snapshot).Scan(&visible)
		if err != nil || visible {
			return err
		}
		if err := pause(ctx, lastPause); err != nil {
			return err
		}
	}
}
