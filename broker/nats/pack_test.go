package nats

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

func packOf(t testing.TB, messages ...skald.Message) []byte {
	t.Helper()
	var pack []byte
	for i := range messages {
		encoded, err := messages[i].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		pack = appendPacked(pack, encoded)
	}
	return pack
}

func TestWhatIsNoPackIsMalformed(t *testing.T) {
	m := skald.Message{ID: skald.ID{1}, Kind: skald.KindEvent, Channel: "a", Type: "b", Version: 1}
	good := packOf(t, m, m)
	tooMany := packOf(t, make([]skald.Message, maxPacked+1)...)
	for name, body := range map[string][]byte{
		"nothing": {}, "cut short": good[:len(good)-1], "a size alone": {200}, "a size too large": {255, 255, 255, 255, 255, 255, 255, 255, 255, 1},
		"a size of no end": bytes.Repeat([]byte{255}, 12), "an empty message": {0}, "more behind it": append(bytes.Clone(good), 3), "too many": tooMany,
	} {
		if messages, err := unpack(body); !errors.Is(err, skald.ErrMalformed) {
			t.Errorf("%s: %d messages, error %v", name, len(messages), err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	m := skald.Message{
		ID: skald.ID{1}, Kind: skald.KindReply, Channel: "a", Key: "k", Type: "b", Version: 1, Source: "s", Time: time.UnixMicro(5).UTC(),
		Headers: skald.Headers{{Name: "x", Value: "y"}}, Payload: []byte("{}"),
	}
	f.Add(packOf(f, m))
	f.Add(packOf(f, m, m, m))
	f.Fuzz(func(t *testing.T, body []byte) {
		messages, err := unpack(body)
		if err != nil {
			if !errors.Is(err, skald.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again, err := unpack(packOf(t, messages...)); err != nil || len(again) != len(messages) {
			t.Fatalf("%d messages came back as %d, error %v", len(messages), len(again), err)
		}
	})
}
