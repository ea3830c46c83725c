package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/skald-go/skald/relay"
)

const (
	// statusEvery is how often the server hears from the relay, whose silence it takes for death
	// after wal_sender_timeout, 60 seconds by default.
	statusEvery = 5 * time.Second
	// look is how often the stream's goroutine sees to that while nothing arrives, or nobody takes
	// what has arrived.
	lookEvery = 500 * time.Millisecond
	// pieceRecords and pieceBytes bound what is handed over at once; piecesAhead, how many such wait.
	pieceRecords, pieceBytes = 256, 1 << 20
	piecesAhead              = 4
)

// stream reads the log through the replication slot, in a goroutine that alone uses the connection.
type stream struct {
	store  *Store
	conn   *pgconn.PgConn
	after  relay.Position // skip up to here
	pieces chan piece
	failed chan error
	stop   context.CancelFunc
	ended  sync.WaitGroup

	piece   piece
	decoder decoder
	inside  bool   // a transaction
	commit  place  // of it
	rows    uint32 // of it
	last    place  // in the log: the end of the last transaction that had rows
	told    place  // the server, as confirmed
	toldAt  time.Time
	end     place // of the log, as the server said last
	asked   atomic.Bool
}

// piece is what is handed over at once: whole transactions, but for a very large one.
type piece struct {
	records []relay.Record
	size    int
	// settles says that the log is settled up to a place once the first so many records are.
	settles int
	upTo    place
}

// note gives the records positions behind those given out before, where a reading of the table
// saw as far, and notes in the trail what is settled with them.
func (p *piece) note(t *trail, last relay.Position) {
	for i := range p.records {
		at := &p.records[i].Position
		if !last.Before(*at) {
			*at = relay.Position{Commit: last.Commit, Index: nextIndex(last.Index)}
		}
		last = *at
	}
	if p.settles > 0 {
		t.add(progress{position: p.records[p.settles-1].Position, confirmed: p.upTo})
	}
}

// startStream begins to read where the slot stands. It leaves out what is not behind the position
// after, if that is one of the log.
func (s *Store) startStream(ctx context.Context, after relay.Position) (*stream, error) {
	for attempt := 0; ; attempt++ {
		conn, err := s.replicate(ctx)
		if err != nil {
			return nil, err
		}
		command := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%s', binary 'true', messages 'true')", s.source.slot, publication)
		conn.Frontend().SendQuery(&pgproto3.Query{String: command})
		if err = conn.Frontend().Flush(); err == nil {
			err = awaitCopy(ctx, conn)
		}
		if err == nil {
			return s.newStream(ctx, conn, after), nil
		}
		_ = conn.Close(context.WithoutCancel(ctx))
		if !hasCode(err, codeObjectInUse) || attempt == takeAttempts {
			return nil, err
		}
		if err := s.freeSlot(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

// takeAttempts is how often a slot is asked for that another process reads.
const takeAttempts = 50

// freeSlot waits for the process that reads the slot, and ends it if it does not go by itself: its
// instance has lost the lease, or has died without the server's knowing.
func (s *Store) freeSlot(ctx context.Context, attempt int) error {
	if err := pause(ctx, 20*time.Millisecond+rand.N(80*time.Millisecond)); err != nil || attempt%10 != 1 {
		return err
	}
	state, err := s.slot(ctx)
	if err != nil || state.active == 0 {
		return err
	}
	return s.endReader(ctx, state.active)
}

func (s *Store) newStream(ctx context.Context, conn *pgconn.PgConn, after relay.Position) *stream {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &stream{
		store: s, conn: conn, after: after, stop: stop,
		pieces: make(chan piece, piecesAhead), failed: make(chan error, 1), toldAt: time.Now(),
	}
	r.ended.Go(func() { r.failed <- r.run(reading) })
	return r
}

// awaitCopy reads the server's answer to START_REPLICATION.
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

func (r *stream) close() {
	r.stop()
	_ = r.conn.Conn().SetDeadline(time.Now()) // wakes the goroutine; the connection is of no more use
	r.ended.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.conn.Close(ctx)
}

// run receives until something fails. The frontend keeps a message that has arrived in part when
// the deadline passes.
func (r *stream) run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	frontend := r.conn.Frontend()
	for ctx.Err() == nil {
		if frontend.ReadBufferLen() == 0 && !r.inside {
			if err := r.handOver(ctx, look); err != nil {
				return err
			}
		}
		if err := r.conn.Conn().SetReadDeadline(time.Now().Add(lookEvery)); err != nil {
			return err
		}
		message, err := frontend.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = r.tell(false)
		case err == nil:
			err = r.receive(ctx, message, look)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *stream) receive(ctx context.Context, message pgproto3.BackendMessage, look *time.Ticker) error {
	switch m := message.(type) {
	case *pgproto3.CopyData:
		return r.data(ctx, m.Data, look)
	case *pgproto3.ErrorResponse:
		return pgconn.ErrorResponseToPgError(m)
	case *pgproto3.CopyDone, *pgproto3.CommandComplete:
		return errors.New("the server has ended the replication")
	default: // notices
		return nil
	}
}

// data takes what the server sends while it replicates ("Streaming Replication Protocol" in its
// documentation): pieces of the log, and signs of life.
func (r *stream) data(ctx context.Context, data []byte, look *time.Ticker) error {
	switch {
	case len(data) > 25 && data[0] == 'w':
		r.end = max(r.end, place(binary.BigEndian.Uint64(data[9:])))
		return r.change(ctx, data[25:], look)
	case len(data) == 18 && data[0] == 'k':
		r.end = max(r.end, place(binary.BigEndian.Uint64(data[1:])))
		r.idle() //nolint:contextcheck // it goes on by itself, with a bound of its own
		return r.tell(data[17] == 1)
	default:
		return fmt.Errorf("%w: of %d bytes", errProtocol, len(data))
	}
}

func (r *stream) change(ctx context.Context, data []byte, look *time.Ticker) error {
	c, err := r.decoder.decode(data)
	if err != nil {
		return err
	}
	switch c.kind {
	case otherChange:
	case beginChange:
		r.inside, r.commit, r.rows = true, c.at, 0
	case commitChange:
		r.inside = false
		if r.rows > 0 {
			r.last = c.at
			r.piece.settles, r.piece.upTo = len(r.piece.records), c.at
		}
	case messageChange:
		return r.row(ctx, &c, look)
	}
	return nil
}

// row adds a message to the piece that is handed over next. A full one waits for the next message,
// so that the end of a transaction is never handed over without one.
func (r *stream) row(ctx context.Context, c *change, look *time.Ticker) error {
	at := relay.Position{Commit: uint64(r.commit), Index: r.rows}
	r.rows = nextIndex(r.rows)
	if tailed(r.after) && !r.after.Before(at) {
		return nil
	}
	if len(r.piece.records) >= pieceRecords || r.piece.size >= pieceBytes {
		if err := r.handOver(ctx, look); err != nil {
			return err
		}
	}
	record := relay.Record{Position: at, AddedAt: c.addedAt}
	if err := record.Message.UnmarshalBinary(c.message); err != nil {
		return fmt.Errorf("message of the transaction at %s: %w", r.commit, err)
	}
	if record.AddedAt.IsZero() {
		record.AddedAt = record.Message.Time
	}
	r.piece.records, r.piece.size = append(r.piece.records, record), r.piece.size+len(c.message)
	return nil
}

// handOver passes the piece on, and keeps the server informed while nobody takes it.
func (r *stream) handOver(ctx context.Context, look *time.Ticker) error {
	if len(r.piece.records) == 0 {
		return nil
	}
	for {
		select {
		case r.pieces <- r.piece:
			r.piece = piece{}
			return nil
		case <-look.C:
			if err := r.tell(false); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell sends what is confirmed when it is due, or when the server asks.
func (r *stream) tell(asked bool) error {
	confirmed := place(r.store.source.confirmed.Load())
	now := time.Now()
	due := now.Sub(r.toldAt) >= statusEvery || confirmed > r.told && now.Sub(r.toldAt) >= lookEvery
	if !asked && !due || confirmed == 0 {
		return nil
	}
	status := make([]byte, 0, 34)
	status = append(status, 'r')
	for range 3 { // written, flushed, applied: for a relay that is the same
		status = binary.BigEndian.AppendUint64(status, uint64(confirmed))
	}
	status = binary.BigEndian.AppendUint64(status, uint64(now.Sub(postgresEpoch).Microseconds()))
	status = append(status, 0)
	r.told, r.toldAt = confirmed, now
	r.conn.Frontend().Send(&pgproto3.CopyData{Data: status})
	if err := r.conn.Conn().SetWriteDeadline(now.Add(statusEvery)); err != nil {
		return err
	}
	return r.conn.Frontend().Flush()
}

// idle lets the slot follow the log while nothing of it concerns the outbox: other tables, or other
// databases, would make it hold the log back otherwise.
func (r *stream) idle() {
	end := r.end
	if r.inside || place(r.store.source.confirmed.Load()) < r.last || !r.asked.CompareAndSwap(false, true) {
		return
	}
	r.ended.Go(func() {
		defer r.asked.Store(false)
		if err := r.store.followLog(end); err != nil {
			r.store.config.Logger.Warn("postgres: the replication slot could not follow the log; trying again", "error", err)
		}
	})
}
