package nats

import (
	"errors"
	"strings"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/relay"
)

// TestWhatIsBehindARejectedMessageOfItsKeyIsRejectedToo loads a batch in which one message is
// larger than the server takes.
func TestWhatIsBehindARejectedMessageOfItsKeyIsRejectedToo(t *testing.T) {
	const limit = 4096
	message := func(key string, size int) skald.Message {
		return skald.Message{ID: skald.NewID(), Kind: skald.KindEvent, Channel: "shop", Key: key, Type: "shop.event", Version: 1, Payload: []byte(strings.Repeat("x", size))}
	}
	messages := []skald.Message{message("a", 10), message("a", 2*limit), message("b", 10), message("a", 10), message("b", 10)}
	channels := map[string]*channel{"shop": {name: "shop", partitions: 1}}
	b := load(&Config{}, channels, &buffers{}, messages, limit)
	rejected := b.rejections()
	if len(rejected) != 2 || rejected[0].Index != 1 || errors.Is(rejected[0].Err, relay.ErrBehind) || rejected[1].Index != 3 || !errors.Is(rejected[1].Err, relay.ErrBehind) {
		t.Fatalf("rejected: %+v; want message 1 for its size and message 3 behind it", rejected)
	}
	var sent []int
	for _, l := range b.lanes {
		for _, p := range l.parcels {
			sent = append(sent, p.indices...)
		}
	}
	if len(sent) != 3 || sent[0] != 0 || sent[1] != 2 || sent[2] != 4 {
		t.Errorf("sent: %v; want 0, 2 and 4", sent)
	}
}
