package postgres

import (
	"context"
	"fmt"

	"github.com/skald-go/skald/relay"
)

// A row is read once if every reading covers what its snapshot, the bound, sees and that of the
// reading before, the floor, did not: a transaction that commits late is not visible to the
// floor, however early it drew its numbers. Such rows belong to transactions that the floor knew
// as running, or that began after it.
const unseen = `(xid >= pg_snapshot_xmax($1::pg_snapshot) OR xid = ANY (ARRAY (SELECT pg_snapshot_xip($1::pg_snapshot))))`

const (
	lookOutbox = `SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, coalesce(min(seq), 0), coalesce(max(seq), 0)
FROM (SELECT seq FROM skald_outbox WHERE ` + unseen + ` OFFSET 0) AS added`
	// Within a key the sequence is the order of the commits, because the key is locked before it is
	// drawn.
	scanOutbox = `SELECT seq, added_at, message FROM skald_outbox
WHERE seq > $3 AND seq <= $4 AND ` + unseen + ` AND pg_visible_in_snapshot(xid, $2::pg_snapshot) ORDER BY seq LIMIT $5`
	spanOutbox = `SELECT coalesce(min(seq), 0), coalesce(max(seq), 0)
FROM (SELECT seq FROM skald_outbox WHERE ` + unseen + ` AND pg_visible_in_snapshot(xid, $2::pg_snapshot) OFFSET 0) AS added`
)

// scan is one reading of the table: of the rows that bound sees and floor does not.
type scan struct {
	floor, bound string
	behind       uint64 // the Commit of its positions
	index        uint32 // of the last row
	skip         uint32 // rows up to this index are not given out
	last         int64  // sequence number of the last row
	until        int64  // of the last row of all
}

// look takes a snapshot and finds out what it sees beyond the floor.
func (s *Store) look(ctx context.Context, floor string) (*scan, error) {
	n := &scan{floor: floor}
	var at string
	var first int64
	err := s.pool.QueryRow(ctx, lookOutbox, floor).Scan(&n.bound, &at, &first, &n.until)
	if err != nil {
		return nil, err
	}
	where, err := parsePlace(at)
	n.behind, n.last = where.scanned(), max(first-1, 0)
	return n, err
}

// span is the reading between two snapshots, behind a sequence number, at a place in the log where
// everything has committed that bound sees.
func (s *Store) span(ctx context.Context, floor, bound string, after int64, at place) (*scan, error) {
	n := &scan{floor: floor, bound: bound, behind: at.scanned()}
	var first int64
	if err := s.pool.QueryRow(ctx, spanOutbox, floor, bound).Scan(&first, &n.until); err != nil {
		return nil, err
	}
	n.last = max(first-1, after)
	return n, nil
}

// empty reports whether nothing is left to read.
func (n *scan) empty() bool { return n.last >= n.until }

// next reads up to limit rows, and notes in the trail what is settled with them.
func (n *scan) next(ctx context.Context, s *Store, limit int) ([]relay.Record, error) {
	if n.index == 0 {
		s.source.trail.add(n.progress())
	}
	rows, err := s.pool.Query(ctx, scanOutbox, n.floor, n.bound, n.last, n.until, limit)
	if err != nil {
		return nil, err
	}
	var records []relay.Record
	read := 0
	for rows.Next() {
		var r relay.Record
		var encoded []byte
		if err := rows.Scan(&n.last, &r.AddedAt, &encoded); err != nil {
			return nil, err
		}
		if err := r.Message.UnmarshalBinary(encoded); err != nil {
			return nil, fmt.Errorf("row %d of the outbox: %w", n.last, err)
		}
		if n.index = nextIndex(n.index); n.index > n.skip {
			r.Position = n.position()
			records = append(records, r)
		}
		read++
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if read < limit {
		n.last = n.until
	}
	if read > 0 {
		s.source.trail.add(n.progress())
	}
	return records, nil
}

// position is that of the last row read.
func (n *scan) position() relay.Position { return relay.Position{Commit: n.behind, Index: n.index} }

// progress is what is settled with the last row read.
func (n *scan) progress() progress {
	p := progress{position: n.position(), floor: n.floor, bound: n.bound, scanned: n.last}
	if n.empty() {
		p.floor, p.bound, p.scanned = n.bound, "", 0
	}
	return p
}
