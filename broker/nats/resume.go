package nats

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/skald-go/skald/inbox"
)

// A position's incarnation is the stream's, and the moment in nanoseconds at which the
// server stored the message at the position's sequence. After a server has lost its newest
// messages in a power failure, and relays have sent them again in another order, sequence and
// id may coincide by chance; the moment does not, so a position is valid only when everything
// up to it is what was read.

func positionIncarnation(stream string, storedAt int64) string {
	return stream + "@" + strconv.FormatInt(storedAt, 36)
}

func splitIncarnation(incarnation string) (stream, storedAt string) {
	stream, storedAt, _ = strings.Cut(incarnation, "@")
	return stream, storedAt
}

// start is where a reader begins.
type start struct {
	from     inbox.Position // of what is handled; zero at the stream's beginning
	sequence uint64         // of the first broker message to read
	why      string         // it begins anew, if it does
}

// resume decides where to start to read the partition. A position of a stream that was
// wiped or restored since means the stream's beginning, and the inbox drops what was
// handled before. Only a position that is trimmed away needs the registry's help.
func resume(ctx context.Context, cfg *Config, c *channel, p inbox.Partition, from inbox.Position, e entry) (start, error) {
	anew := func(why string) (start, error) { return start{sequence: c.first, why: why}, nil }
	if from == (inbox.Position{}) {
		if e.incarnation == c.incarnation && e.committed == 0 && c.first > e.through+1 {
			cfg.Logger.Error("nats: messages were trimmed before the group read them", "channel", p.Channel, "group", p.Group,
				"partition", p.Number, "from", e.through+1, "to", c.first-1)
		}
		return start{sequence: c.first}, nil
	}
	incarnation, storedAt := splitIncarnation(from.Incarnation)
	switch {
	case incarnation != c.incarnation:
		return anew("the stream is another incarnation")
	case from.Sequence > c.last:
		return anew("the stream ends before the position")
	case from.Sequence < c.first:
		return start{from: from, sequence: c.first}, checkTrimmed(c, p, from, e)
	}
	m, err := c.message(ctx, from.Sequence)
	if err != nil {
		return start{}, err
	}
	if m == nil {
		if err := c.refresh(ctx); err != nil {
			return start{}, err
		}
		if from.Sequence < c.first { // trimmed under way
			return start{from: from, sequence: c.first}, checkTrimmed(c, p, from, e)
		}
		return anew("the message at the position is gone")
	}
	if m.Subject != partitionSubject(p.Channel, p.Number) || lastID(cfg, p.Channel, m.Header, m.Data) != from.Last ||
		storedAt != "" && storedAt != strconv.FormatInt(m.Time.UnixNano(), 36) {
		return anew("another message is at the position")
	}
	return start{from: from, sequence: from.Sequence + 1}, nil
}

// checkTrimmed decides whether messages behind the position were trimmed unread. Sequences
// are shared by all partitions of the channel, so trimmed ones may all have been another
// partition's. The registry knows: this package trims only below what is registered as
// handled, or as empty of this partition's messages, for every group (trim.go). So what is
// trimmed beyond that was trimmed by age or by hand, and may have been unread; and a
// position below what the group had registered as committed means that the consumer's
// database was itself restored from an older copy.
func checkTrimmed(c *channel, p inbox.Partition, from inbox.Position, e entry) error {
	if from.Sequence+1 >= c.first {
		return nil
	}
	if e.incarnation == c.incarnation && e.committed <= from.Sequence && e.handled() >= c.first-1 {
		return nil
	}
	return fmt.Errorf("%w: group %s is at %d in partition %d of channel %s, and the broker's oldest message is %d: what was between is lost "+
		"to the group unless its senders publish it again (to accept that, delete the partition's position in the group's database)",
		ErrTrimmed, p.Group, from.Sequence, p.Number, p.Channel, c.first)
}
