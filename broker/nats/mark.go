package nats

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/skald-go/skald"
)

// mark is what the broker surely held when a checkpoint was stored: for each channel that
// the relay ever published to, the stream's incarnation and the relay's last message in it.
type mark map[string]markEntry

type markEntry struct {
	incarnation string
	sequence    uint64
	last        skald.ID
}

const markFormat = "nats1"

// String is the form that is stored: the format, then for each channel its four words,
// behind semicolons.
func (m mark) String() string {
	if len(m) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(markFormat)
	for _, channel := range slices.Sorted(maps.Keys(m)) {
		e := m[channel]
		fmt.Fprintf(&b, ";%s %s %d %s", channel, e.incarnation, e.sequence, e.last)
	}
	return b.String()
}

func parseMark(text string) (mark, error) {
	m := mark{}
	if text == "" {
		return m, nil
	}
	parts := strings.Split(text, ";")
	if parts[0] != markFormat {
		return nil, fmt.Errorf("nats: the checkpoint's mark %.40q is of another broker or version", text)
	}
	for _, part := range parts[1:] {
		words := strings.Split(part, " ")
		if len(words) != 4 {
			return nil, fmt.Errorf("nats: the checkpoint's mark has %.80q: four words are expected", part)
		}
		sequence, err := strconv.ParseUint(words[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("nats: the checkpoint's mark has sequence %.40q: %w", words[2], err)
		}
		last, err := skald.ParseID(words[3])
		if err != nil {
			return nil, fmt.Errorf("nats: the checkpoint's mark: %w", err)
		}
		m[words[0]] = markEntry{incarnation: words[1], sequence: sequence, last: last}
	}
	return m, nil
}

// advance records that e is in the channel, unless something later is recorded already.
func (m mark) advance(channel string, e markEntry) {
	if old, ok := m[channel]; !ok || old.incarnation != e.incarnation || old.sequence < e.sequence {
		m[channel] = e
	}
}
