package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

// micros is how a time is stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment reads what micros wrote.
func moment(stored int64) time.Time {
	if stored == 0 {
		return time.Time{}
	}
	return time.UnixMicro(stored).UTC()
}

// momentColumn scans what micros wrote, and NULL, into a time.
type momentColumn time.Time

// Scan implements [sql.Scanner].
func (m *momentColumn) Scan(value any) error {
	switch v := value.(type) {
	case nil:
		*m = momentColumn{}
	case int64:
		*m = momentColumn(moment(v))
	default:
		return fmt.Errorf("time stored as %T, not as microseconds", value)
	}
	return nil
}

// idColumn scans the bytes of an id.
type idColumn skald.ID

// Scan implements [sql.Scanner].
func (c *idColumn) Scan(value any) error {
	b, ok := value.([]byte)
	if !ok || len(b) != len(c) {
		return fmt.Errorf("id stored as %T of %d bytes, not as %d bytes", value, len(b), len(c))
	}
	copy(c[:], b)
	return nil
}

// messageColumn scans a message in its binary form.
type messageColumn skald.Message

// Scan implements [sql.Scanner].
func (c *messageColumn) Scan(value any) error {
	b, ok := value.([]byte)
	if !ok {
		return fmt.Errorf("message stored as %T, not as bytes", value)
	}
	return (*skald.Message)(c).UnmarshalBinary(b)
}

// notNull is b, or an empty slice, which the driver does not take for NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// headerLines writes headers as lines that a person can read in the table. Values have no
// control characters: the outbox has checked them.
func headerLines(headers skald.Headers) string {
	if len(headers) == 0 {
		return ""
	}
	size := 0
	for _, h := range headers {
		size += len(h.Name) + len(h.Value) + len(": \n")
	}
	var b strings.Builder
	b.Grow(size)
	for _, h := range headers {
		b.WriteString(h.Name)
		b.WriteString(": ")
		b.WriteString(h.Value)
		b.WriteByte('\n')
	}
	return b.String()
}

// parseHeaders reads what headerLines wrote. The headers share the memory of lines.
func parseHeaders(lines string) (skald.Headers, error) {
	if lines == "" {
		return nil, nil
	}
	headers := make(skald.Headers, 0, strings.Count(lines, "\n"))
	for lines != "" {
		line, rest, ended := strings.Cut(lines, "\n")
		name, value, ok := strings.Cut(line, ": ")
		if !ended || !ok {
			return nil, errors.New("the stored headers are not lines of the form \"name: value\"")
		}
		headers = append(headers, skald.Header{Name: name, Value: value})
		lines = rest
	}
	return headers, nil
}
