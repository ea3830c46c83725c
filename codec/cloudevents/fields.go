package cloudevents

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

// Bounds on attributes that have no limit in package skald.
const (
	maxID     = 255
	maxSource = 255
)

func readSpecVersion(_ *skald.Message, value string) error {
	if value != specVersion {
		return fmt.Errorf("specversion %.20q: only %s is known", value, specVersion)
	}
	return nil
}

func readSource(m *skald.Message, value string) error {
	if err := checkText("source", value, maxSource); err != nil {
		return err
	}
	if value != noSource {
		m.Source = value
	}
	return nil
}

func readType(m *skald.Message, value string) error {
	m.Type = value
	return checkText("type", value, skald.MaxName)
}

func readTime(m *skald.Message, value string) error {
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return fmt.Errorf("time %.40q: not a moment as in RFC 3339", value)
	}
	if m.Time = t.UTC(); m.Time.Year() < 0 || m.Time.Year() > 9999 {
		return fmt.Errorf("time %s: in UTC it has no year of four digits", value)
	}
	return nil
}

func readKind(m *skald.Message, value string) error {
	kind, ok := skald.ParseKind(value)
	if !ok {
		return fmt.Errorf("kind %.20q: none of command, reply, event", value)
	}
	m.Kind = kind
	return nil
}

func readKey(m *skald.Message, value string) error {
	m.Key = value
	return checkText("key", value, skald.MaxKey)
}

func readChannel(m *skald.Message, value string) error {
	if err := skald.CheckName(value); err != nil {
		return fmt.Errorf("channel: %w", err)
	}
	m.Channel = value
	return nil
}

func readVersion(m *skald.Message, value string) error {
	version, err := strconv.Atoi(value)
	if err != nil || version < 1 || version > math.MaxInt32 {
		return fmt.Errorf("typeversion %.20q: not a number from 1", value)
	}
	m.Version = version
	return nil
}

func readContentType(m *skald.Message, value string) error {
	if value != skald.ContentTypeJSON {
		m.ContentType = value
	}
	return checkContentType(value)
}

func checkContentType(value string) error {
	if len(value) > skald.MaxName || !printable(value) {
		return fmt.Errorf("content type %.40q: at most %d bytes of UTF-8 without control characters", value, skald.MaxName)
	}
	if strings.HasPrefix(strings.ToLower(value), structured) {
		return fmt.Errorf("content type %.60q: an event in structured or batched mode; only binary mode is known", value)
	}
	return nil
}

func readID(m *skald.Message, value string) error {
	if err := checkText("id", value, maxID); err != nil {
		return err
	}
	id, err := skald.ParseID(value)
	if err != nil {
		id = derivedID(m.Source, value)
	}
	if id.IsZero() {
		return fmt.Errorf("id %s: stands for none", value)
	}
	m.ID = id
	return nil
}

// derivedID makes a UUID of a foreign id: source and id together identify an event, so the
// same event gets the same UUID each time that it arrives.
func derivedID(source, id string) skald.ID {
	sum := sha256.Sum256([]byte(source + "\x00" + id))
	derived := skald.ID(sum[:16])
	derived[6] = 0x80 | derived[6]&0x0f
	derived[8] = 0x80 | derived[8]&0x3f
	return derived
}

func checkText(name, value string, limit int) error {
	switch {
	case value == "":
		return fmt.Errorf("%s: empty", name)
	case len(value) > limit:
		return fmt.Errorf("%s of %d bytes: at most %d", name, len(value), limit)
	default:
		return nil
	}
}
