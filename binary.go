package skald

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrMalformed is in the chain of every error about bytes that are not a message.
var ErrMalformed = errors.New("skald: malformed message")

// messageFormat is the first byte of a message in Skald's own binary form.
const messageFormat = 1

// AppendBinary appends the message in Skald's own compact form: what stores keep of held
// messages and recorded replies, and what peers pack several of into one broker message.
// It implements [encoding.BinaryAppender].
func (m *Message) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, messageFormat, byte(m.Kind))
	b = append(b, m.ID[:]...)
	b = binary.AppendVarint(b, m.Time.UnixMicro())
	b = binary.AppendUvarint(b, uint64(m.Version))
	for _, s := range [...]string{m.Channel, m.Key, m.Type, m.Source, m.ContentType} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for _, h := range m.Headers {
		b = appendString(appendString(b, h.Name), h.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Payload)))
	return append(b, m.Payload...), nil
}

// MarshalBinary implements [encoding.BinaryMarshaler] with AppendBinary's form.
func (m *Message) MarshalBinary() ([]byte, error) {
	return m.AppendBinary(make([]byte, 0, 160+len(m.Payload)))
}

// UnmarshalBinary reads AppendBinary's form. The message keeps no reference to data.
// It implements [encoding.BinaryUnmarshaler].
func (m *Message) UnmarshalBinary(data []byte) error {
	r := reader{rest: data}
	if format := r.byte(); format != messageFormat {
		return fmt.Errorf("%w: format %d, not %d", ErrMalformed, format, messageFormat)
	}
	m.Kind = Kind(r.byte())
	copy(m.ID[:], r.take(16))
	m.Time = time.UnixMicro(r.varint()).UTC()
	m.Version = int(min(r.uvarint(), math.MaxInt32))
	for _, s := range [...]*string{&m.Channel, &m.Key, &m.Type, &m.Source, &m.ContentType} {
		*s = r.string()
	}
	m.Headers = nil
	if n := r.uvarint(); n > 0 && n <= uint64(len(r.rest)) {
		m.Headers = make(Headers, n)
		for i := range m.Headers {
			m.Headers[i] = Header{r.string(), r.string()}
		}
	} else if n > 0 {
		r.short = true
	}
	m.Payload = append([]byte(nil), r.take(r.uvarint())...)
	switch {
	case r.short:
		return fmt.Errorf("%w: cut short", ErrMalformed)
	case len(r.rest) > 0:
		return fmt.Errorf("%w: %d bytes behind its end", ErrMalformed, len(r.rest))
	default:
		return nil
	}
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes apart a byte slice; once it is short every further read is empty.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.short, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.short, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.short, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) string() string { return string(r.take(r.uvarint())) }
