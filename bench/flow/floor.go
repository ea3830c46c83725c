package flow

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald/bench/cluster"
)

// floor inserts into a table and reads it back from the write-ahead log.
var floor = kind{"floor-wal", openFloor}

const slot = "flow"

// throughLog is the floor's way.
type throughLog struct {
	cluster *cluster.Cluster
	pool    *pgxpool.Pool
	drop    func() error
	receive func(string)
	read    uint64 // the place in the log up to which everything was received
}

func openFloor(ctx context.Context, c *cluster.Cluster, writers int, receive func(string)) (path, error) {
	pool, err := c.Create(ctx, database, writers)
	if err != nil {
		return nil, err
	}
	drop := func() error { return c.Drop(context.WithoutCancel(ctx), database) }
	p := &throughLog{cluster: c, pool: pool, drop: drop, receive: receive}
	for _, statement := range []string{
		`CREATE TABLE outbox (id bigserial PRIMARY KEY, payload text NOT NULL)`,
		`CREATE PUBLICATION flow FOR TABLE outbox`,
		`SELECT pg_create_logical_replication_slot('` + slot + `', 'pgoutput')`,
	} {
		if _, err := pool.Exec(ctx, statement); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

func (p *throughLog) close() error {
	p.pool.Close()
	return p.drop()
}

func (p *throughLog) write(ctx context.Context, contents []string, committing func()) error {
	const insert = `INSERT INTO outbox (payload) VALUES ($1)`
	committing()
	if len(contents) == 1 {
		_, err := p.pool.Exec(ctx, insert, contents[0])
		return err
	}
	var batch pgx.Batch // one transaction
	for _, c := range contents {
		batch.Queue(insert, c)
	}
	return p.pool.SendBatch(ctx, &batch).Close()
}

// statusEvery is how often the server hears how far everything was received.
const statusEvery = time.Second

func (p *throughLog) carry(ctx context.Context) error {
	conn, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for ctx.Err() == nil {
		if err := p.tell(conn); err != nil {
			return err
		}
		if err := p.takeFor(ctx, conn, statusEvery); err != nil {
			return err
		}
	}
	return nil
}

// takeFor takes what arrives for so long, or until the server wants an answer. A message that has
// arrived in part by then is not lost.
func (p *throughLog) takeFor(ctx context.Context, conn *pgconn.PgConn, length time.Duration) error {
	if err := conn.Conn().SetReadDeadline(time.Now().Add(length)); err != nil {
		return err
	}
	for asked := false; !asked && ctx.Err() == nil; {
		message, err := conn.Frontend().Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if data, ok := message.(*pgproto3.CopyData); ok {
			asked = p.take(data.Data)
		}
	}
	return nil
}

// connect begins to replicate. The server may need a moment to notice that the slot's last reader has gone.
func (p *throughLog) connect(ctx context.Context) (*pgconn.PgConn, error) {
	address, err := p.cluster.URL(database)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		conn, err := pgconn.Connect(ctx, address+"&replication=database")
		if err != nil {
			return nil, err
		}
		conn.Frontend().SendQuery(&pgproto3.Query{String: `START_REPLICATION SLOT ` + slot + ` LOGICAL 0/0 (proto_version '1', publication_names 'flow')`})
		if err = conn.Frontend().Flush(); err == nil {
			err = awaitCopy(ctx, conn)
		}
		if err == nil {
			return conn, nil
		}
		_ = conn.Close(ctx)
		if attempt == 100 || ctx.Err() != nil {
			return nil, err
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func awaitCopy(ctx context.Context, conn *pgconn.PgConn) error {
	for {
		message, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.CopyBothResponse:
			return nil
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		}
	}
}

// take takes a message of the replication protocol, and reports whether the server wants an answer.
func (p *throughLog) take(data []byte) (asked bool) {
	const keepalive, logData = 'k', 'w'
	switch {
	case len(data) == 18 && data[0] == keepalive:
		return data[17] == 1
	case len(data) > 25 && data[0] == logData:
		p.read = max(p.read, binary.BigEndian.Uint64(data[9:]))
		if change := data[25:]; change[0] == 'I' {
			p.receive(lastColumn(change[6:])) // behind the table's number and the letter for its new row
		}
	}
	return false
}

// lastColumn is the text of a row's last column.
func lastColumn(row []byte) string {
	var text []byte
	columns := binary.BigEndian.Uint16(row)
	row = row[2:]
	for range columns { // a letter for the form, the length, the text
		length := binary.BigEndian.Uint32(row[1:])
		text, row = row[5:5+length], row[5+length:]
	}
	return string(text)
}

// tell lets the server forget what was received.
func (p *throughLog) tell(conn *pgconn.PgConn) error {
	status := []byte{'r'}
	for range 3 { // written, flushed, applied
		status = binary.BigEndian.AppendUint64(status, p.read)
	}
	status = binary.BigEndian.AppendUint64(status, 0) // the clock, which the server does not use
	status = append(status, 0)
	conn.Frontend().Send(&pgproto3.CopyData{Data: status})
	return conn.Frontend().Flush()
}
