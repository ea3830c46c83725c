package postgres

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/skald-go/skald"
)

// The scan targets of this file implement pgtype's interfaces for pgx's own transactions, and
// sql.Scanner for those of database/sql.

// idColumn scans an id, and NULL: the zero id.
type idColumn skald.ID

// ScanUUID implements [pgtype.UUIDScanner].
func (c *idColumn) ScanUUID(v pgtype.UUID) error {
	*c = v.Bytes
	return nil
}

// Scan implements [sql.Scanner].
func (c *idColumn) Scan(value any) error {
	if value == nil {
		*c = idColumn{}
		return nil
	}
	s, ok := value.(string)
	if !ok {
		return fmt.Errorf("id read as %T, not as text", value)
	}
	id, err := skald.ParseID(s)
	*c = idColumn(id)
	return err
}

// momentColumn scans what moment and dueMoment make of a time, and NULL: the zero time.
type momentColumn time.Time

// ScanTimestamptz implements [pgtype.TimestamptzScanner].
func (c *momentColumn) ScanTimestamptz(v pgtype.Timestamptz) error {
	*c = momentColumn(v.Time.UTC())
	if !v.Valid || v.Time.UnixMicro() == 0 {
		*c = momentColumn{}
	}
	return nil
}

// Scan implements [sql.Scanner].
func (c *momentColumn) Scan(value any) error {
	t, ok := value.(time.Time)
	if !ok && value != nil {
		return fmt.Errorf("time read as %T", value)
	}
	return c.ScanTimestamptz(pgtype.Timestamptz{Time: t, Valid: ok})
}

// messageColumn scans a message in its binary form.
type messageColumn skald.Message

// ScanBytes implements [pgtype.BytesScanner].
func (c *messageColumn) ScanBytes(v []byte) error { return (*skald.Message)(c).UnmarshalBinary(v) }

// Scan implements [sql.Scanner].
func (c *messageColumn) Scan(value any) error {
	b, ok := value.([]byte)
	if !ok {
		return fmt.Errorf("message read as %T, not as bytes", value)
	}
	return c.ScanBytes(b)
}

// moment is how a time is stored where there always is one: the zero time as the epoch.
func moment(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// ids is a parameter of type uuid[].
func ids(list []skald.ID) [][16]byte {
	all := make([][16]byte, len(list))
	for i := range list {
		all[i] = list[i]
	}
	return all
}

// storable is s as a column can have it: PostgreSQL takes neither a zero byte nor what is no UTF-8, and
// a message from elsewhere, or an error about one, may have both.
func storable(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// notNull is b, or an empty slice, which is not taken for NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
