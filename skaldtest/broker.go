package skaldtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
)

var (
	_ inbox.Transport = (*Broker)(nil)
	_ relay.Publisher = (*Broker)(nil)
)

// ErrDisconnected is returned on a connection to a broker that has stopped since, and by a
// broker that is stopped.
var ErrDisconnected = errors.New("skaldtest: disconnected from the broker")

// ErrTrimmed is returned to a reader whose next message was trimmed before it was read.
var ErrTrimmed = errors.New("skaldtest: messages were trimmed unread")

// BrokerConfig configures a [Broker]; its zero value works.
type BrokerConfig struct {
	// Partitions of each channel. Defaults to 4.
	Partitions int
	// SyncInterval is how long a stored message may be lost by [Broker.Crash]. Defaults to
	// none: every message is synced before it is confirmed.
	SyncInterval time.Duration
}

// Broker is an in-memory broker: partitioned channels that keep what is published, each
// read by any number of groups. It is safe for concurrent use.
type Broker struct {
	config BrokerConfig

	mu          sync.Mutex // held for moments, never while waiting
	incarnation string
	log         []entry // everything stored, in order
	stamps      int     // drawn so far; never again, whatever is lost
	shards      map[shardKey]*shard
	stored      chan struct{} // closed and replaced when something is stored
	connection  chan struct{} // closed when every connection is cut
	stopped     bool
	faults      faults
}

// entry is what one publish stored.
type entry struct {
	key  shardKey
	id   skald.ID
	body []byte
	at   time.Time
	// stamp tells the entry from another one that takes its place after a loss, with the same
	// message: a relay sends it again, and sequence and id may coincide.
	stamp int
}

type shardKey struct {
	channel   string
	partition int
}

// shard lists the log's entries of one partition: sequence n is index n-1.
type shard struct {
	log     []int
	trimmed int
}

// NewBroker returns a broker without messages.
func NewBroker(config BrokerConfig) *Broker {
	if config.Partitions == 0 {
		config.Partitions = 4
	}
	b := &Broker{config: config, stored: make(chan struct{}), connection: make(chan struct{})}
	b.reset(nil)
	b.incarnation = skald.NewID().String()
	return b
}

// Partitions implements [inbox.Transport].
func (b *Broker) Partitions(ctx context.Context, channel string) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx); err != nil {
		return 0, err
	}
	if err := skald.CheckName(channel); err != nil {
		return 0, fmt.Errorf("skaldtest: channel: %w", err)
	}
	return b.config.Partitions, nil
}

// Messages returns what a channel holds and can still be decoded, in the order of storing.
func (b *Broker) Messages(channel string) []skald.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var messages []skald.Message
	for _, e := range b.log {
		var m skald.Message
		if e.key.channel == channel && m.UnmarshalBinary(e.body) == nil {
			messages = append(messages, m)
		}
	}
	return messages
}

func (b *Broker) reachable(ctx context.Context) error {
	if b.stopped {
		return ErrDisconnected
	}
	return ctx.Err()
}

// reset makes log the broker's content.
func (b *Broker) reset(log []entry) {
	b.log, b.shards = nil, map[shardKey]*shard{}
	for _, e := range log {
		b.store(e)
	}
}

func (b *Broker) store(e entry) {
	s := b.shard(e.key)
	s.log = append(s.log, len(b.log))
	b.log = append(b.log, e)
}

func (b *Broker) shard(key shardKey) *shard {
	if b.shards[key] == nil {
		b.shards[key] = &shard{}
	}
	return b.shards[key]
}

// publish stores a body and wakes the readers.
func (b *Broker) publish(channel, orderKey string, id skald.ID, body []byte) {
	key := shardKey{channel, skald.Partition(orderKey, b.config.Partitions)}
	for range b.faults.copies + 1 {
		b.stamps++
		b.store(entry{key: key, id: id, body: body, at: time.Now(), stamp: b.stamps})
	}
	close(b.stored)
	b.stored = make(chan struct{})
}

// disconnect cuts every connection.
func (b *Broker) disconnect() {
	close(b.connection)
	b.connection = make(chan struct{})
}

// synced is how many entries of the log are on disk.
func (b *Broker) synced() int {
	on := func(e entry, now time.Time) int {
		if now.Sub(e.at) >= b.config.SyncInterval {
			return -1
		}
		return 1
	}
	n, _ := slices.BinarySearchFunc(b.log, time.Now(), on)
	return n
}

// mark notes the first n entries of the log.
func (b *Broker) mark(n int) string {
	last := skald.ID{}
	if n > 0 {
		last = b.log[n-1].id
	}
	return fmt.Sprintf("%s %d %s", b.incarnation, n, last)
}

// holds reports whether the log still begins with what the mark notes.
func (b *Broker) holds(mark string) bool {
	parts := strings.Split(mark, " ")
	if len(parts) != 3 {
		return mark == ""
	}
	n, err := strconv.Atoi(parts[1])
	return err == nil && n <= len(b.log) && b.mark(n) == mark
}

func cut(connection <-chan struct{}) bool {
	select {
	case <-connection:
		return true
	default:
		return false
	}
}
