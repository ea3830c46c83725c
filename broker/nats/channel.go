package nats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/skald-go/skald"
)

// What is stored with a stream.
const (
	metaIncarnation = "skald-incarnation"
	metaPartitions  = "skald-partitions"
)

// dedupWindow is how long the server remembers the ids of messages that travel alone.
const dedupWindow = 2 * time.Minute

// channel is a stream as it was at one moment.
type channel struct {
	name        string
	stream      jetstream.Stream
	incarnation string
	partitions  int
	first, last uint64 // sequences; first is last+1 in an empty stream
}

// ensureChannel returns the channel and makes it if there is none. Of several processes
// that make it at once, one does and the others find it.
func ensureChannel(ctx context.Context, js jetstream.JetStream, cfg *Config, name string) (*channel, error) {
	if err := skald.CheckName(name); err != nil {
		return nil, fmt.Errorf("nats: channel: %w", err)
	}
	for {
		found, err := findChannel(ctx, js, name)
		if err == nil {
			return found, found.check(cfg)
		}
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, err
		}
		stream, err := js.CreateStream(ctx, streamConfig(cfg, name))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			continue // another process was faster
		}
		if err != nil {
			return nil, fmt.Errorf("nats: make stream %s: %w", streamName(name), explain(err))
		}
		return newChannel(name, stream, stream.CachedInfo())
	}
}

func streamConfig(cfg *Config, name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: streamName(name), Description: "Skald channel " + name, Subjects: []string{channelSubject(name)},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxAge: cfg.MaxAge, MaxBytes: cfg.MaxBytes, Replicas: cfg.Replicas, Duplicates: min(dedupWindow, cfg.MaxAge),
		Metadata: map[string]string{metaIncarnation: rand.Text(), metaPartitions: strconv.Itoa(cfg.Partitions)},
	}
}

// findChannel asks the server; [jetstream.ErrStreamNotFound] when there is no such stream.
func findChannel(ctx context.Context, js jetstream.JetStream, name string) (*channel, error) {
	stream, err := js.Stream(ctx, streamName(name))
	if err != nil {
		return nil, fmt.Errorf("nats: look at stream %s: %w", streamName(name), err)
	}
	return newChannel(name, stream, stream.CachedInfo())
}

func newChannel(name string, stream jetstream.Stream, info *jetstream.StreamInfo) (*channel, error) {
	c := &channel{name: name, stream: stream, incarnation: info.Config.Metadata[metaIncarnation], first: info.State.FirstSeq, last: info.State.LastSeq}
	if c.first == 0 {
		c.first = 1 // a stream that never held anything
	}
	var err error
	if c.partitions, err = strconv.Atoi(info.Config.Metadata[metaPartitions]); err != nil || c.incarnation == "" {
		return nil, fmt.Errorf("nats: stream %s was not made by Skald: it lacks the metadata %s and %s (delete it, or use another account)", streamName(name), metaIncarnation, metaPartitions)
	}
	return c, nil
}

func (c *channel) check(cfg *Config) error {
	if c.partitions != cfg.Partitions {
		return fmt.Errorf("%w: channel %s is stored with %d, Config.Partitions is %d (all services must agree; configure %d)",
			ErrPartitions, c.name, c.partitions, cfg.Partitions, c.partitions)
	}
	return nil
}

// refresh asks for the stream's state again.
func (c *channel) refresh(ctx context.Context) error {
	info, err := c.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("nats: look at stream %s: %w", streamName(c.name), err)
	}
	again, err := newChannel(c.name, c.stream, info)
	if err == nil {
		*c = *again
	}
	return err
}

// renew gives the stream another incarnation: what was recorded of it does not hold any
// more. Of two that renew at once the last one wins, and the other notices at its next
// round trip.
func (c *channel) renew(ctx context.Context, js jetstream.JetStream) error {
	cfg := c.stream.CachedInfo().Config
	cfg.Metadata = maps.Clone(cfg.Metadata)
	cfg.Metadata[metaIncarnation] = rand.Text()
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("nats: note in stream %s that it was restored: %w", streamName(c.name), err)
	}
	return nil
}

// message returns the stored message at a sequence, nil when there is none.
func (c *channel) message(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	m, err := c.stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nats: look at message %d of stream %s: %w", sequence, streamName(c.name), err)
	}
	return m, nil
}

// Codes of the server that have no name in the client.
const (
	codeNoStorage       = 10047
	codeSubjectsOverlap = 10065
)

// explain adds what to do to errors of the server that say too little.
func explain(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode {
	case codeNoStorage:
		return fmt.Errorf("%w (the channels' MaxBytes together exceed what the server may store: raise its max_file_store, or lower Config.MaxBytes)", err)
	case codeSubjectsOverlap:
		return fmt.Errorf("%w (another stream takes the same subjects: delete it, or use another account)", err)
	default:
		return err
	}
}
