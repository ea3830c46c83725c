package nats

import (
	"encoding/binary"
	"fmt"

	"github.com/skald-go/skald"
)

// A pack is several messages of one partition in one broker message: each message in
// Skald's own binary form, behind its length as an unsigned varint. It saves the broker's
// work per message, which is most of its cost when there is a backlog.
const (
	packType         = "application/vnd.skald.pack"
	contentTypeField = "content-type"
	maxPacked        = 256       // messages
	maxPackBytes     = 512 << 10 // keeps a pack well under what servers and readers buffer
)

func appendPacked(pack, message []byte) []byte {
	return append(binary.AppendUvarint(pack, uint64(len(message))), message...)
}

// unpack reads a pack; it has at least one message.
func unpack(body []byte) ([]skald.Message, error) {
	count, err := countPacked(body)
	if err != nil {
		return nil, err
	}
	messages := make([]skald.Message, count)
	for i := range messages {
		size, n := binary.Uvarint(body)
		end := n + int(size) // countPacked has seen that it is within body
		if err := messages[i].UnmarshalBinary(body[n:end]); err != nil {
			return nil, fmt.Errorf("message %d of a pack: %w", i, err)
		}
		body = body[end:]
	}
	return messages, nil
}

// countPacked checks the pack's lengths and returns how many there are.
func countPacked(body []byte) (count int, err error) {
	for len(body) > 0 || count == 0 {
		size, n := binary.Uvarint(body)
		if n <= 0 || size > uint64(len(body)-n) {
			return 0, fmt.Errorf("%w: pack cut short behind %d messages", skald.ErrMalformed, count)
		}
		if count++; count > maxPacked {
			return 0, fmt.Errorf("%w: pack of more than %d messages", skald.ErrMalformed, maxPacked)
		}
		body = body[n+int(size):]
	}
	return count, nil
}
