package skald

// Wire is a message as a broker carries it: headers and a body.
type Wire struct {
	Headers Headers
	Body    []byte
}

// Codec is a wire format: how a message becomes headers and body, and back. Brokers take
// one; CloudEvents 1.0 (package codec/cloudevents) is the default. Encryption and
// signatures are codecs around another codec. A codec is safe for concurrent use.
type Codec interface {
	// Encode returns the message on the wire.
	Encode(m *Message) (Wire, error)
	// Decode reads a message; its errors wrap [ErrMalformed]. It fills every field that the
	// wire carries; the broker fills Channel and Key where its own addressing carries them.
	Decode(w Wire) (Message, error)
}
