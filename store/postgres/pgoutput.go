package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The messages of PostgreSQL's logical replication that matter here ("Logical Replication Message
// Formats" in its documentation), in protocol version 1 with values in binary form.

// errProtocol is in the chain of errors about bytes that are no such message.
var errProtocol = errors.New("replication message not understood")

// change is one message of the log, decoded.
type change struct {
	kind changeKind
	// Of a begin: where the commit stands. Of a commit: where it ends.
	at place
	// Of an inserted row, or of a message without a table. They share the memory that they were
	// decoded from.
	addedAt time.Time
	message []byte
}

type changeKind byte

const (
	otherChange   changeKind = iota // nothing that concerns the outbox
	beginChange                     // a transaction follows
	commitChange                    // it is complete
	messageChange                   // an outgoing message in it
)

// decoder knows the columns of the relations that the log has named.
type decoder struct {
	relations map[uint32]columns
}

// columns are the indices of the outbox's columns that are read; -1 for one that is not there.
type columns struct{ addedAt, message int }

// emitPrefix marks what AddMessages emits without a table.
const emitPrefix = "skald"

// postgresEpoch is what PostgreSQL counts microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (d *decoder) decode(data []byte) (change, error) {
	r := fields{rest: data}
	switch r.byte() {
	case 'B':
		return r.done(change{kind: beginChange, at: place(r.uint64())})
	case 'C':
		r.byte()   // flags
		r.uint64() // where the commit stands
		return r.done(change{kind: commitChange, at: place(r.uint64())})
	case 'R':
		d.relation(&r)
		return r.done(change{})
	case 'I':
		return d.insert(&r)
	case 'M':
		return emitted(&r)
	case 'Y', 'O', 'T', 'U', 'D': // types, origins, and changes that are not published
		return change{}, nil
	default:
		return change{}, fmt.Errorf("%w: type %q", errProtocol, data[:min(len(data), 1)])
	}
}

func (d *decoder) relation(r *fields) {
	id := r.uint32()
	r.text() // schema
	r.text() // table
	r.byte() // replica identity
	found := columns{-1, -1}
	for i := range int(r.uint16()) {
		r.byte() // flags
		switch r.text() {
		case "added_at":
			found.addedAt = i
		case "message":
			found.message = i
		}
		r.uint32() // type
		r.uint32() // its modifier
		if r.short {
			return
		}
	}
	if d.relations == nil {
		d.relations = map[uint32]columns{}
	}
	d.relations[id] = found
}

func (d *decoder) insert(r *fields) (change, error) {
	known, ok := d.relations[r.uint32()]
	if r.byte() != 'N' || !ok {
		return change{}, fmt.Errorf("%w: a row of a relation that was not named", errProtocol)
	}
	c := change{kind: messageChange}
	for i := range int(r.uint16()) {
		var value []byte
		switch form := r.byte(); form {
		case 'n', 'u':
		case 'b':
			value = r.take(int(r.uint32()))
		default:
			return change{}, fmt.Errorf("%w: a value of form %q, not binary", errProtocol, form)
		}
		switch {
		case r.short:
			return r.done(c)
		case i == known.message:
			c.message = value
		case i == known.addedAt && len(value) == 8:
			c.addedAt = postgresEpoch.Add(time.Duration(binary.BigEndian.Uint64(value)) * time.Microsecond)
		}
	}
	if c.message == nil {
		return change{}, fmt.Errorf("%w: a row without a message", errProtocol)
	}
	return r.done(c)
}

// emitted reads a message that was written to the log without a table.
func emitted(r *fields) (change, error) {
	flags := r.byte()
	r.uint64() // where it stands
	prefix := r.text()
	content := r.take(int(r.uint32()))
	if prefix != emitPrefix || flags&1 == 0 { // another's, or one that belongs to no transaction
		return r.done(change{})
	}
	return r.done(change{kind: messageChange, message: content})
}

// fields takes apart a message; once it is short every further read is empty.
type fields struct {
	rest  []byte
	short bool
}

func (f *fields) done(c change) (change, error) {
	if f.short {
		return change{}, fmt.Errorf("%w: cut short", errProtocol)
	}
	return c, nil
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.rest) {
		f.short, f.rest = true, nil
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads up to the byte of zero that ends it.
func (f *fields) text() string {
	for i, c := range f.rest {
		if c == 0 {
			s := string(f.rest[:i])
			f.rest = f.rest[i+1:]
			return s
		}
	}
	f.short, f.rest = true, nil
	return ""
}
