package flow

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	payloadBytes = 300
	digits       = 10
	// capacity is how many messages a meter tells apart.
	capacity = 1 << 22
)

var (
	filler  = strings.Repeat("x", payloadBytes-digits)
	errFull = errors.New("flow: more messages than the meter can tell apart: measure for a shorter time")
)

// content is a message with a number.
func content(number int) string {
	n := strconv.Itoa(number)
	return strings.Repeat("0", digits-len(n)) + n + filler
}

// meter knows of every message when its commit began, and whether it was received.
type meter struct {
	next     atomic.Int64
	began    []atomic.Int64 // nanoseconds since start, by number
	received []atomic.Bool
	start    time.Time

	arrived  atomic.Int64 // first receptions
	repeated atomic.Int64
	news     chan struct{} // has an element when there was a reception

	recording atomic.Bool
	mu        sync.Mutex
	latencies []time.Duration
}

func newMeter() *meter {
	return &meter{began: make([]atomic.Int64, capacity), received: make([]atomic.Bool, capacity), start: time.Now(), news: make(chan struct{}, 1)}
}

// take draws numbers for new messages.
func (m *meter) take(n int) (numbers []int, err error) {
	last := int(m.next.Add(int64(n)))
	if last > capacity {
		return nil, errFull
	}
	numbers = make([]int, n)
	for i := range numbers {
		numbers[i] = last - n + i
	}
	return numbers, nil
}

// committing notes that the commit of messages begins now.
func (m *meter) committing(numbers []int) {
	now := int64(time.Since(m.start))
	for _, n := range numbers {
		m.began[n].Store(now)
	}
}

// receive takes what a receiver got.
func (m *meter) receive(text string) {
	number, err := strconv.Atoi(text[:min(digits, len(text))])
	if err != nil || number >= capacity || m.received[number].Swap(true) {
		m.repeated.Add(1)
		return
	}
	if m.recording.Load() {
		took := time.Since(m.start) - time.Duration(m.began[number].Load())
		m.mu.Lock()
		m.latencies = append(m.latencies, took)
		m.mu.Unlock()
	}
	m.arrived.Add(1)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// record begins to keep latencies.
func (m *meter) record() {
	m.latencies = nil
	m.recording.Store(true)
}

// recorded returns the latencies, sorted.
func (m *meter) recorded() []time.Duration {
	m.recording.Store(false)
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.latencies)
	return m.latencies
}

// missing is how many messages were sent and not received.
func (m *meter) missing() int64 { return m.next.Load() - m.arrived.Load() }
