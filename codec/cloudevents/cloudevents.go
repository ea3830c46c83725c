// Package cloudevents is the default wire format: CloudEvents 1.0 in binary mode, so that
// senders and receivers that know nothing of Skald can take part.
//
// The attributes are headers with the prefix "ce-", the payload is the body, and
// "content-type" stands for datacontenttype. A message's kind, key, channel and type
// version travel as the extension attributes kind, key, channel and typeversion, and each
// of its headers as an extension attribute of the same name; among them traceparent and
// tracestate, as CloudEvents' distributed tracing extension has it. Values are
// percent-encoded as the HTTP binding, section 3.1.3.2, says.
//
// Two things are not told apart on the wire: no content type from application/json, which
// is what none means (decoded as none), and no source from the source "/" (decoded as none).
// Brokers may sort headers by name.
package cloudevents

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

// The names that carry a message's own fields.
const (
	prefix      = "ce-"
	contentType = "content-type"
	specVersion = "1.0"
	noSource    = "/" // CloudEvents wants a source that is not empty
	structured  = "application/cloudevents"
)

// maxAttributes bounds what an event's headers may take together, encoded: a message's own
// headers, each byte of which may become three, and its fields.
const maxAttributes = 3*skald.MaxHeaders + 8<<10

// Codec reads and writes CloudEvents 1.0 in binary mode. Its zero value is ready for use.
type Codec struct{}

var _ skald.Codec = Codec{}

// fields are the attributes that are no header of the message. The attributes subject and
// dataschema have no field and are kept as headers.
var fields = map[string]func(m *skald.Message, value string) error{
	"id":          nil, // read last: what a foreign one becomes depends on the source
	"specversion": readSpecVersion,
	"source":      readSource,
	"type":        readType,
	"time":        readTime,
	"kind":        readKind,
	"key":         readKey,
	"channel":     readChannel,
	"typeversion": readVersion,
}

// Encode implements [skald.Codec]. Only a header that cannot be an extension attribute
// and a content type that cannot be carried are errors; nearly all of them are found by
// [skald.Message.Validate] before.
func (Codec) Encode(m *skald.Message) (skald.Wire, error) {
	if err := checkContentType(m.ContentType); err != nil {
		return skald.Wire{}, fmt.Errorf("cloudevents: encode %s %q (%s): %w", m.Kind, m.Type, m.ID, err)
	}
	headers := make(skald.Headers, 0, 10+len(m.Headers))
	put := func(name, value string) {
		headers = append(headers, skald.Header{Name: prefix + name, Value: escape(value)})
	}
	put("specversion", specVersion)
	put("id", m.ID.String())
	put("source", orElse(m.Source, noSource))
	put("type", m.Type)
	put("kind", m.Kind.String())
	put("typeversion", strconv.Itoa(m.Version))
	if m.Channel != "" {
		put("channel", m.Channel)
	}
	if !m.Time.IsZero() {
		put("time", m.Time.UTC().Format(time.RFC3339Nano))
	}
	if m.Key != "" {
		put("key", m.Key)
	}
	headers = append(headers, skald.Header{Name: contentType, Value: orElse(m.ContentType, skald.ContentTypeJSON)})
	for _, h := range m.Headers {
		if err := checkExtension(h.Name); err != nil {
			return skald.Wire{}, fmt.Errorf("cloudevents: encode %s %q (%s): %w", m.Kind, m.Type, m.ID, err)
		}
		put(h.Name, h.Value)
	}
	return skald.Wire{Headers: headers, Body: m.Payload}, nil
}

// Decode implements [skald.Codec]. It takes any CloudEvent: without the attribute kind it
// is an event, without typeversion its version is 1, an id that is no UUID becomes one that
// is derived from source and id (RFC 9562, version 8), and unknown attributes become
// headers. Headers without the prefix belong to the transport and are ignored.
func (Codec) Decode(w skald.Wire) (skald.Message, error) {
	m := skald.Message{Kind: skald.KindEvent, Version: 1, Payload: w.Body}
	if len(w.Body) > skald.MaxPayload {
		return skald.Message{}, malformed(fmt.Errorf("body of %d bytes: at most %d", len(w.Body), skald.MaxPayload))
	}
	event := decoding{message: &m}
	for _, h := range w.Headers {
		if err := event.header(h); err != nil {
			return skald.Message{}, malformed(err)
		}
	}
	if err := event.finish(); err != nil {
		return skald.Message{}, malformed(err)
	}
	return m, nil
}

// decoding is the state of reading one event's headers.
type decoding struct {
	message *skald.Message
	id      string
	size    int
	seen    map[string]bool
}

func (d *decoding) header(h skald.Header) error {
	name := strings.ToLower(h.Name)
	if name != contentType && !strings.HasPrefix(name, prefix) {
		return nil
	}
	if d.size += len(h.Name) + len(h.Value); d.size > maxAttributes {
		return fmt.Errorf("attributes of more than %d bytes", maxAttributes)
	}
	if d.seen == nil {
		d.seen = make(map[string]bool, 16)
	}
	if d.seen[name] {
		return fmt.Errorf("header %.40q is given twice", name)
	}
	d.seen[name] = true
	if name == contentType {
		return readContentType(d.message, h.Value)
	}
	value, err := unescape(h.Value)
	if err != nil {
		return fmt.Errorf("header %.40q: %w", name, err)
	}
	return d.attribute(name[len(prefix):], value)
}

func (d *decoding) attribute(name, value string) error {
	if read, known := fields[name]; read != nil {
		return read(d.message, value)
	} else if known {
		d.id = value
		return nil
	}
	if err := checkExtension(name); err != nil {
		return err
	}
	d.message.Headers = append(d.message.Headers, skald.Header{Name: name, Value: value})
	return nil
}

// finish checks that what CloudEvents requires is there, and reads the id.
func (d *decoding) finish() error {
	for _, name := range [...]string{"specversion", "id", "source", "type"} {
		if !d.seen[prefix+name] {
			return fmt.Errorf("attribute %s is missing: not a CloudEvent in binary mode", name)
		}
	}
	size := 0
	for _, h := range d.message.Headers {
		size += len(h.Name) + len(h.Value)
	}
	if size > skald.MaxHeaders {
		return fmt.Errorf("extension attributes of %d bytes: at most %d", size, skald.MaxHeaders)
	}
	return readID(d.message, d.id)
}

func malformed(err error) error {
	return fmt.Errorf("%w: cloudevents: %w", skald.ErrMalformed, err)
}

// checkExtension checks the name of an attribute that is a header of the message.
func checkExtension(name string) error {
	_, field := fields[name]
	if field || name == "data" || name == "datacontenttype" {
		return fmt.Errorf("attribute %s: reserved", name)
	}
	ok := len(name) >= 1 && len(name) <= 20
	for i := 0; ok && i < len(name); i++ {
		ok = 'a' <= name[i] && name[i] <= 'z' || '0' <= name[i] && name[i] <= '9'
	}
	if !ok {
		return fmt.Errorf("attribute name %.40q: 1 to 20 lower-case letters and digits", name)
	}
	return nil
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
