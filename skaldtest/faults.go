package skaldtest

import (
	"slices"

	"github.com/skald-go/skald"
)

// faults are what the broker is told to do wrong.
type faults struct {
	copies  int
	reject  func(m *skald.Message) error
	publish []int // how many messages the next failing publishes store
}

// nextPublish returns how many of n messages to store, and the error to return then.
func (f *faults) nextPublish(n int) (int, error) {
	if len(f.publish) == 0 {
		return n, nil
	}
	stored := min(n, f.publish[0])
	f.publish = f.publish[1:]
	return stored, ErrDisconnected
}

func (f *faults) rejects(m *skald.Message) error {
	if f.reject == nil {
		return nil
	}
	return f.reject(m)
}

// FailPublish makes the next n calls of Publish fail and store nothing.
func (b *Broker) FailPublish(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.publish = append(b.faults.publish, slices.Repeat([]int{0}, n)...)
}

// CutPublish makes the next call of Publish store its first messages, up to stored, and
// fail all the same: the confirmation is lost.
func (b *Broker) CutPublish(stored int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.publish = append(b.faults.publish, stored)
}

// RejectIf makes the broker refuse for good every message for which reject returns an
// error; nil ends that.
func (b *Broker) RejectIf(reject func(m *skald.Message) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.reject = reject
}

// Repeat makes the broker store n further copies of every message from now on.
func (b *Broker) Repeat(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.copies = n
}

// PublishRaw stores bytes that need not be a message, as a foreign sender would.
func (b *Broker) PublishRaw(channel, key string, raw []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publish(channel, key, skald.NewID(), slices.Clone(raw))
}

// Corrupt cuts a stored message in half, and reports whether it is there.
func (b *Broker) Corrupt(id skald.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := false
	for i := range b.log {
		if e := &b.log[i]; e.id == id {
			e.body, found = e.body[:len(e.body)/2], true
		}
	}
	return found
}

// Trim removes all but the newest keep messages of each of a channel's partitions.
func (b *Broker) Trim(channel string, keep int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, s := range b.shards {
		if key.channel == channel {
			s.trimmed = max(s.trimmed, len(s.log)-keep)
		}
	}
}

// Stop cuts every connection and refuses new ones until Start.
func (b *Broker) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.disconnect()
}

// Start ends Stop.
func (b *Broker) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = false
}

// Restart cuts every connection and loses nothing.
func (b *Broker) Restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disconnect()
}

// Crash cuts every connection and loses what was not synced: see [BrokerConfig].
func (b *Broker) Crash() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replace(b.log[:b.synced()])
}

// Wipe cuts every connection and loses everything: the broker is a new incarnation.
func (b *Broker) Wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.incarnation = skald.NewID().String()
	b.replace(nil)
}

// BrokerBackup is a copy of what a broker held.
type BrokerBackup struct {
	incarnation string
	log         []entry
	trimmed     map[shardKey]int
}

// Snapshot copies what the broker holds.
func (b *Broker) Snapshot() *BrokerBackup {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &BrokerBackup{b.incarnation, slices.Clone(b.log), b.trimmed()}
}

// Restore cuts every connection and puts the broker back to a backup of it. Its
// incarnation is the backup's: only the sequences show that it is an older copy.
func (b *Broker) Restore(backup *BrokerBackup) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.incarnation = backup.incarnation
	b.reset(backup.log)
	b.trim(backup.trimmed)
	b.disconnect()
}

// replace makes log the content of a broker that keeps what was trimmed trimmed.
func (b *Broker) replace(log []entry) {
	trimmed := b.trimmed()
	b.reset(log)
	b.trim(trimmed)
	b.disconnect()
}

func (b *Broker) trimmed() map[shardKey]int {
	trimmed := map[shardKey]int{}
	for key, s := range b.shards {
		trimmed[key] = s.trimmed
	}
	return trimmed
}

func (b *Broker) trim(trimmed map[shardKey]int) {
	for key, n := range trimmed {
		s := b.shard(key)
		s.trimmed = min(n, len(s.log))
	}
}
