package skald

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"time"
)

// ID is a UUID. Skald draws version 7 (RFC 9562): its first 48 bits are a Unix time in
// milliseconds, so ids sort by the moment they were drawn. The zero ID means "none".
type ID [16]byte

// NewID draws an id from the process-wide generator. It is safe for concurrent use, and
// every id is greater than the one drawn before it in this process.
func NewID() ID { return ids.Next(time.Now()) }

var ids = NewIDGenerator(rand.Reader)

// IDGenerator draws monotonic UUIDv7s from a source of randomness. Tests give it a
// deterministic one. It is safe for concurrent use.
type IDGenerator struct {
	mu     sync.Mutex
	random io.Reader
	pool   [4096]byte
	unread []byte
	last   ID
}

// NewIDGenerator returns a generator that draws its random bits from random.
func NewIDGenerator(random io.Reader) *IDGenerator { return &IDGenerator{random: random} }

// Next draws an id for the moment now. When the clock stands still or runs back, the id
// counts on from the last one, so that order is kept. It panics when the source of
// randomness fails: there is no safe id without it.
func (g *IDGenerator) Next(now time.Time) ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ms := uint64(now.UnixMilli()); ms > milliseconds(g.last) {
		g.last = g.fresh(ms)
	} else {
		g.last = g.following()
	}
	return g.last
}

func (g *IDGenerator) fresh(ms uint64) ID {
	var id ID
	copy(id[6:], g.bytes(10))
	binary.BigEndian.PutUint16(id[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
	id[6] = 0x70 | id[6]&0x0f
	id[8] = 0x80 | id[8]&0x3f
	return id
}

// following adds a random step to the last id's 62 low random bits and carries into the
// next millisecond when they run out (RFC 9562, section 6.2, method 2).
func (g *IDGenerator) following() ID {
	id := g.last
	low := binary.BigEndian.Uint64(id[8:]) &^ (3 << 62)
	low += 1 + uint64(binary.BigEndian.Uint32(g.bytes(4)))
	if low>>62 != 0 {
		return g.fresh(milliseconds(id) + 1)
	}
	binary.BigEndian.PutUint64(id[8:], low|1<<63)
	return id
}

func (g *IDGenerator) bytes(n int) []byte {
	if len(g.unread) < n {
		if _, err := io.ReadFull(g.random, g.pool[:]); err != nil {
			panic(fmt.Sprintf("skald: no randomness for an id: %v", err))
		}
		g.unread = g.pool[:]
	}
	b := g.unread[:n]
	g.unread = g.unread[n:]
	return b
}

func milliseconds(id ID) uint64 { return binary.BigEndian.Uint64(id[:8]) >> 16 }

// Time is the moment in the id, to the millisecond, in UTC.
func (id ID) Time() time.Time { return time.UnixMilli(int64(milliseconds(id))).UTC() }

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// String is the canonical form: 36 characters, lower case.
func (id ID) String() string {
	b, _ := id.MarshalText()
	return string(b)
}

// MarshalText implements [encoding.TextMarshaler] with the canonical form.
func (id ID) MarshalText() ([]byte, error) {
	b := make([]byte, 36)
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return b, nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]; it takes the canonical form only.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// ParseID reads the canonical form of a UUID, of any version.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("skald: %.40q is not a UUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", s)
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, fmt.Errorf("skald: %q is not a UUID: %w", s, err)
	}
	return id, nil
}
