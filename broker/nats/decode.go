package nats

import (
	"fmt"
	"slices"
	"strings"

	client "github.com/nats-io/nats.go"

	"github.com/skald-go/skald"
)

// wireOf is a broker message as codecs see it: headers sorted by name, since the client
// keeps them in a map, and without the server's own.
func wireOf(header client.Header, body []byte) skald.Wire {
	headers := make(skald.Headers, 0, len(header))
	for name, values := range header {
		if strings.HasPrefix(name, "Nats-") {
			continue
		}
		for _, value := range values {
			headers = append(headers, skald.Header{Name: name, Value: value})
		}
	}
	slices.SortFunc(headers, func(a, b skald.Header) int { return strings.Compare(a.Name, b.Name) })
	return skald.Wire{Headers: headers, Body: body}
}

// decode returns the messages in a broker message: several when they came packed.
func decode(cfg *Config, channel string, header client.Header, body []byte) ([]skald.Message, error) {
	if header.Get(contentTypeField) != packType {
		m, err := cfg.codec().Decode(wireOf(header, body))
		if err != nil {
			return nil, fmt.Errorf("nats: decode a message of channel %s: %w", channel, err)
		}
		messages := []skald.Message{m}
		return messages, address(channel, messages)
	}
	if !cfg.packs() {
		return nil, fmt.Errorf("%w: nats: a pack on channel %s, sent past the configured codec", skald.ErrMalformed, channel)
	}
	messages, err := unpack(body)
	if err != nil {
		return nil, fmt.Errorf("nats: decode a pack of channel %s: %w", channel, err)
	}
	return messages, address(channel, messages)
}

// address checks that the messages belong to the channel on which they came.
func address(channel string, messages []skald.Message) error {
	for i := range messages {
		m := &messages[i]
		m.Channel = orElse(m.Channel, channel)
		if m.Channel != channel {
			return fmt.Errorf("%w: nats: a message for channel %.120q on channel %s", skald.ErrMalformed, m.Channel, channel)
		}
		if m.ID.IsZero() {
			return fmt.Errorf("%w: nats: a message without an id on channel %s", skald.ErrMalformed, channel)
		}
	}
	return nil
}

// lastID is the id of the last message in a broker message; zero when it is no message.
func lastID(cfg *Config, channel string, header client.Header, body []byte) skald.ID {
	messages, err := decode(cfg, channel, header, body)
	if err != nil {
		return skald.ID{}
	}
	return messages[len(messages)-1].ID
}
