package nats

import (
	"context"
	"errors"
	"fmt"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald/inbox"
)

// entry is what the broker knows of a group's position in a partition. It serves to trim
// only; the position that counts is in the group's database. Within an incarnation both
// numbers only rise.
type entry struct {
	inbox.Partition
	incarnation string
	committed   uint64 // handled by the group up to here; 0 when nothing yet
	through     uint64 // the partition has nothing unhandled up to here
	revision    uint64 // of the entry in its stream; 0 when it is not stored
}

// handled is up to where the group needs nothing of the stream any more.
func (e entry) handled() uint64 { return max(e.committed, e.through) }

func (e entry) encode() []byte {
	return fmt.Appendf(nil, "%s %q %d %s %d %d", e.Channel, e.Group, e.Number, e.incarnation, e.committed, e.through)
}

func decodeEntry(m *jetstream.RawStreamMsg) (entry, error) {
	e := entry{revision: m.Sequence}
	_, err := fmt.Sscanf(string(m.Data), "%s %q %d %s %d %d", &e.Channel, &e.Group, &e.Number, &e.incarnation, &e.committed, &e.through)
	if err != nil {
		return entry{}, fmt.Errorf("nats: the position at %s (%.80q) is none: %w", m.Subject, m.Data, err)
	}
	return e, nil
}

// registry is the stream of entries: one message for each channel, group and partition.
type registry struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

func openRegistry(ctx context.Context, js jetstream.JetStream, cfg *Config) (*registry, error) {
	stream, err := js.Stream(ctx, positionsStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: positionsStream, Description: "Skald positions, by channel, group and partition", Subjects: []string{positionsPrefix + ">"},
			Storage: jetstream.FileStorage, MaxMsgsPerSubject: 1, Replicas: cfg.Replicas,
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = js.Stream(ctx, positionsStream)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("nats: stream %s: %w", positionsStream, explain(err))
	}
	return &registry{js: js, stream: stream}, nil
}

// get returns the entry of a partition; one without revision when there is none.
func (r *registry) get(ctx context.Context, p inbox.Partition) (entry, error) {
	m, err := r.stream.GetLastMsgForSubject(ctx, positionSubject(p.Channel, p.Group, p.Number))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return entry{Partition: p}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("nats: look up the position of group %s in partition %d of channel %s: %w", p.Group, p.Number, p.Channel, err)
	}
	return decodeEntry(m)
}

// list returns all entries of a channel, read now: it begins with the oldest and ends when
// none follows, so it sees an entry that is replaced under way twice, later one last, and
// misses none.
func (r *registry) list(ctx context.Context, channel string) (map[inbox.Partition]entry, error) {
	subject := positionsPrefix + token(channel) + ".>"
	entries := map[inbox.Partition]entry{}
	for next := uint64(1); ; {
		m, err := r.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return entries, nil
		}
		if err != nil {
			return nil, fmt.Errorf("nats: list the positions in channel %s: %w", channel, err)
		}
		e, err := decodeEntry(m)
		if err != nil {
			return nil, err
		}
		entries[e.Partition] = e
		next = m.Sequence + 1
	}
}

// put stores an entry in the place of the revision that it was read with, and returns it
// with its new revision; false when somebody else replaced that in the meantime.
func (r *registry) put(ctx context.Context, e entry) (entry, bool, error) {
	m := client.NewMsg(positionSubject(e.Channel, e.Group, e.Number))
	m.Data = e.encode()
	ack, err := r.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(e.revision), jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return entry{}, false, nil
	}
	if err != nil {
		return entry{}, false, fmt.Errorf("nats: register the position of group %s in partition %d of channel %s: %w", e.Group, e.Number, e.Channel, err)
	}
	e.revision = ack.Sequence
	return e, true, nil
}

// join makes sure that the group is registered in every partition of the channel before it
// reads the first, so that nothing is trimmed that it has not read, and returns the entry of
// the partition p. Everybody registers in ascending order, so the last partition's entry
// says that all are there. Entries of an earlier incarnation are replaced.
func (r *registry) join(ctx context.Context, c *channel, p inbox.Partition) (entry, error) {
	own, err := r.get(ctx, p)
	if err != nil {
		return entry{}, err
	}
	final := own
	if p.Number != c.partitions-1 {
		if final, err = r.get(ctx, inbox.Partition{Channel: p.Channel, Group: p.Group, Number: c.partitions - 1}); err != nil {
			return entry{}, err
		}
	}
	if own.of(c) && final.of(c) {
		return own, nil
	}
	for number := range c.partitions {
		joined, err := r.add(ctx, c, inbox.Partition{Channel: p.Channel, Group: p.Group, Number: number})
		if err != nil {
			return entry{}, err
		}
		if number == p.Number {
			own = joined
		}
	}
	return own, nil
}

// of reports whether the entry is stored, and about this incarnation of the stream.
func (e entry) of(c *channel) bool { return e.revision > 0 && e.incarnation == c.incarnation }

// add registers a partition unless it is registered.
func (r *registry) add(ctx context.Context, c *channel, p inbox.Partition) (entry, error) {
	for {
		e, err := r.get(ctx, p)
		if err != nil || e.of(c) {
			return e, err
		}
		added, ok, err := r.put(ctx, entry{Partition: p, incarnation: c.incarnation, through: c.first - 1, revision: e.revision})
		if ok || err != nil {
			return added, err
		}
	}
}

// raise changes the entry of a partition in which the group is registered. An entry of
// another incarnation is left alone: it is no business of the caller's any more.
func (r *registry) raise(ctx context.Context, p inbox.Partition, incarnation string, change func(*entry)) error {
	for {
		e, err := r.get(ctx, p)
		if err != nil || e.incarnation != incarnation {
			return err
		}
		before := e
		change(&e)
		if e == before {
			return nil
		}
		if _, ok, err := r.put(ctx, e); ok || err != nil {
			return err
		}
	}
}
