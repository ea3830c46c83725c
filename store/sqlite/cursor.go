package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/skald-go/skald/relay"
)

const readOutbox = `SELECT seq, id, kind, channel, key, type, version, source, content_type, time, headers, payload, added_at
FROM skald_outbox WHERE seq > ? ORDER BY seq LIMIT ?`

// cursor reads the outbox on a connection of its own.
type cursor struct {
	store *Store
	conn  *sql.Conn
	stmt  *sql.Stmt
	after int64
}

// OpenOutbox implements [relay.Source]. Rows come in the order of their seq, which is the
// order of commits, because there is one writer.
func (s *Store) OpenOutbox(ctx context.Context, after relay.Position) (relay.Cursor, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open the outbox: %w", err)
	}
	stmt, err := conn.PrepareContext(ctx, readOutbox)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open the outbox: %w", errors.Join(err, conn.Close()))
	}
	return &cursor{store: s, conn: conn, stmt: stmt, after: int64(after.Commit)}, nil
}

// Next implements [relay.Cursor].
func (c *cursor) Next(ctx context.Context, limit int) ([]relay.Record, error) {
	if limit < 1 {
		return nil, fmt.Errorf("sqlite: read the outbox: limit %d: must be at least 1", limit)
	}
	for {
		changed, longest := c.store.news.watch(time.Now())
		records, err := c.read(ctx, limit)
		if err != nil {
			return nil, fmt.Errorf("sqlite: read the outbox behind %d: %w", c.after, err)
		}
		if len(records) > 0 {
			c.after = int64(records[len(records)-1].Position.Commit)
			return records, nil
		}
		if err := wait(ctx, changed, longest); err != nil {
			return nil, fmt.Errorf("sqlite: wait for messages in the outbox: %w", err)
		}
	}
}

func (c *cursor) read(ctx context.Context, limit int) ([]relay.Record, error) {
	rows, err := c.stmt.QueryContext(ctx, c.after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []relay.Record
	for rows.Next() {
		records = append(records, relay.Record{})
		if err := scanRecord(rows, &records[len(records)-1]); err != nil {
			return nil, err
		}
	}
	return records, rows.Err()
}

func scanRecord(rows *sql.Rows, r *relay.Record) error {
	m := &r.Message
	var headers string
	err := rows.Scan(&r.Position.Commit, (*idColumn)(&m.ID), &m.Kind, &m.Channel, &m.Key, &m.Type, &m.Version, &m.Source, &m.ContentType,
		(*momentColumn)(&m.Time), &headers, &m.Payload, (*momentColumn)(&r.AddedAt))
	if err == nil {
		m.Headers, err = parseHeaders(headers)
	}
	return err
}

// wait returns at the first of: a change, the end of the pause, the end of ctx.
func wait(ctx context.Context, changed <-chan struct{}, longest time.Duration) error {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements [relay.Cursor].
func (c *cursor) Close() error {
	if err := errors.Join(c.stmt.Close(), c.conn.Close()); err != nil {
		return fmt.Errorf("sqlite: close the outbox: %w", err)
	}
	return nil
}
