package cloudevents_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/codec/cloudevents"
)

var moment = time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)

func full() skald.Message {
	return skald.Message{
		ID: skald.ID{1, 2, 3, 15: 4}, Kind: skald.KindCommand, Channel: "kitchen.commands", Key: "order 7", Type: "ftgo.kitchen.create-ticket",
		Version: 2, Source: "order", Time: moment, ContentType: "application/json; charset=utf-8", Payload: []byte(`{"order":7}`),
		Headers: skald.Headers{
			{Name: skald.HeaderTraceParent, Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			{Name: skald.HeaderTraceState, Value: "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
			{Name: skald.HeaderStep, Value: `größe "7" 100%25 \ end`},
			{Name: "empty", Value: ""},
		},
	}
}

func TestAMessageComesBackAsItWas(t *testing.T) {
	minimal := skald.Message{ID: skald.ID{1}, Kind: skald.KindEvent, Channel: "a", Type: "b", Version: 1}
	for name, m := range map[string]skald.Message{"full": full(), "minimal": minimal} {
		t.Run(name, func(t *testing.T) {
			w, err := cloudevents.Codec{}.Encode(&m)
			if err != nil {
				t.Fatal(err)
			}
			back, err := cloudevents.Codec{}.Decode(w)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, m) {
				t.Errorf("sent %+v\n got %+v", m, back)
			}
		})
	}
}

func TestTheHeadersAreThoseOfTheBinding(t *testing.T) {
	m := full()
	w, err := cloudevents.Codec{}.Encode(&m)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "01020300-0000-0000-0000-000000000004", "ce-source": "order", "ce-type": "ftgo.kitchen.create-ticket",
		"ce-time": "2026-03-04T05:06:07.123456Z", "content-type": "application/json; charset=utf-8", "ce-kind": "command", "ce-key": "order%207",
		"ce-typeversion": "2", "ce-channel": "kitchen.commands", "ce-sagastep": `gr%C3%B6%C3%9Fe%20%227%22%20100%2525%20\%20end`,
		"ce-traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ce-tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
	} {
		if got := w.Headers.Get(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}

// Faults: 84.
func TestWhatNoEventCanCarryIsNotEncoded(t *testing.T) {
	for name, spoil := range map[string]func(*skald.Message){
		"reserved header":       func(m *skald.Message) { m.Headers.Set("id", "x") },
		"header with dash":      func(m *skald.Message) { m.Headers.Set("a-b", "x") },
		"header without a name": func(m *skald.Message) { m.Headers.Set("", "x") },
		"line break":            func(m *skald.Message) { m.ContentType = "text/plain\r\nevil: yes" },
		"structured payload":    func(m *skald.Message) { m.ContentType = "application/cloudevents+json" },
	} {
		t.Run(name, func(t *testing.T) {
			m := full()
			spoil(&m)
			if w, err := (cloudevents.Codec{}).Encode(&m); err == nil {
				t.Errorf("encoded as %v", w.Headers)
			}
		})
	}
}

// foreign is a small event of another implementation.
func foreign(changes ...skald.Header) skald.Wire {
	h := skald.Headers{
		{Name: "ce-specversion", Value: "1.0"},
		{Name: "ce-id", Value: "A234-1234"},
		{Name: "ce-source", Value: "https://example.com/shop?x=1"},
		{Name: "ce-type", Value: "com.example.Sold"},
	}
	for _, c := range changes {
		h.Set(c.Name, c.Value)
	}
	return skald.Wire{Headers: h, Body: []byte("x")}
}

func TestAForeignEventIsTaken(t *testing.T) {
	w := foreign()
	for i, h := range w.Headers {
		w.Headers[i].Name = strings.ToUpper(h.Name)
	}
	w.Headers = append(w.Headers, skald.Headers{
		{Name: "Ce-Subject", Value: "thing 1"},
		{Name: "ce-DataSchema", Value: "/schema"},
		{Name: "ce-quoted", Value: `"a \"b\" %41 100%"`},
		{Name: "User-Agent", Value: "anything \x00"},
		{Name: "ce-time", Value: "2026-03-04T06:06:07.123456+01:00"},
		{Name: "Content-Type", Value: "text/plain"},
	}...)
	m, err := cloudevents.Codec{}.Decode(w)
	if err != nil {
		t.Fatal(err)
	}
	want := skald.Message{
		ID: m.ID, Kind: skald.KindEvent, Type: "com.example.Sold", Version: 1, Source: "https://example.com/shop?x=1", Time: moment, ContentType: "text/plain",
		Headers: skald.Headers{{Name: "subject", Value: "thing 1"}, {Name: "dataschema", Value: "/schema"}, {Name: "quoted", Value: `a "b" A 100%`}},
		Payload: []byte("x"),
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v\nnot %+v", m, want)
	}
}

func TestAForeignIDIsTheSameEachTimeAndDiffersBySource(t *testing.T) {
	id := func(w skald.Wire) skald.ID {
		m, err := cloudevents.Codec{}.Decode(w)
		if err != nil {
			t.Fatal(err)
		}
		return m.ID
	}
	elsewhere := foreign(skald.Header{Name: "ce-source", Value: "/elsewhere"})
	if a, b, c := id(foreign()), id(foreign()), id(elsewhere); a != b || a == c || a[6]>>4 != 8 || a[8]>>6 != 2 {
		t.Errorf("%s, %s, %s", a, b, c)
	}
}

// Faults: 84.
func TestWhatIsNoEventIsMalformed(t *testing.T) {
	set := func(name, value string) skald.Wire { return foreign(skald.Header{Name: name, Value: value}) }
	without := func(name string) skald.Wire {
		w := foreign()
		for i, h := range w.Headers {
			if h.Name == name {
				w.Headers = append(w.Headers[:i:i], w.Headers[i+1:]...)
			}
		}
		return w
	}
	twice := foreign()
	twice.Headers = append(twice.Headers, skald.Header{Name: "CE-Type", Value: "again"})
	many := foreign()
	for i := range 3000 {
		many.Headers = append(many.Headers, skald.Header{Name: fmt.Sprint("ce-x", i), Value: "0123456789"})
	}
	for name, w := range map[string]skald.Wire{
		"nothing": {}, "no specversion": without("ce-specversion"), "no id": without("ce-id"), "no source": without("ce-source"), "no type": without("ce-type"),
		"specversion": set("ce-specversion", "0.3"), "empty id": set("ce-id", ""), "long id": set("ce-id", strings.Repeat("x", 256)),
		"zero id": set("ce-id", skald.ID{}.String()), "empty source": set("ce-source", ""), "long source": set("ce-source", strings.Repeat("x", 256)),
		"empty type": set("ce-type", ""), "long type": set("ce-type", strings.Repeat("x", 121)), "time": set("ce-time", "yesterday"),
		"kind": set("ce-kind", "query"), "channel": set("ce-channel", "Big Channel"), "long key": set("ce-key", strings.Repeat("x", 256)),
		"version zero": set("ce-typeversion", "0"), "version word": set("ce-typeversion", "one"), "version huge": set("ce-typeversion", "99999999999"),
		"attribute name": set("ce-under_score", "x"), "long name": set("ce-"+strings.Repeat("x", 21), "x"), "no name": set("ce-", "x"), "data": set("ce-data", "x"),
		"two types": twice, "too many": many, "one too long": set("ce-x", strings.Repeat("x", skald.MaxHeaders+1)), "not UTF-8": set("ce-x", "%FF"),
		"control character": set("ce-x", "%00"), "structured": set("content-type", "application/cloudevents+json; charset=utf-8"),
		"batched": set("content-type", "application/cloudevents-batch+json"), "content type": set("content-type", "a\nb"), "body": {Headers: foreign().Headers, Body: make([]byte, skald.MaxPayload+1)},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := (cloudevents.Codec{}).Decode(w); !errors.Is(err, skald.ErrMalformed) {
				t.Errorf("decoded as %+v, error %v", m, err)
			}
		})
	}
}

// FuzzDecode reads any headers, given as lines "name: value". What is taken must come back
// the same when it is sent on.
func FuzzDecode(f *testing.F) {
	f.Add("ce-specversion: 1.0\nce-id: 1\nce-source: /\nce-type: a", []byte("{}"))
	f.Fuzz(func(t *testing.T, lines string, body []byte) {
		w := skald.Wire{Body: body}
		for line := range strings.SplitSeq(lines, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			w.Headers = append(w.Headers, skald.Header{Name: name, Value: value})
		}
		m, err := cloudevents.Codec{}.Decode(w)
		if err != nil {
			if !errors.Is(err, skald.ErrMalformed) {
				t.Fatalf("the error is none of a malformed message: %v", err)
			}
			return
		}
		again, err := cloudevents.Codec{}.Encode(&m)
		if err != nil {
			t.Fatalf("decoded %+v, which is not encoded: %v", m, err)
		}
		back, err := cloudevents.Codec{}.Decode(again)
		if err != nil {
			t.Fatalf("decoded %+v, which does not come back: %v", m, err)
		}
		if !reflect.DeepEqual(back, m) {
			t.Fatalf("decoded %+v, came back %+v", m, back)
		}
	})
}

// FuzzHeaders sends a message with any headers, given as lines "name: value". Those that a
// message may have must come back as they were.
func FuzzHeaders(f *testing.F) {
	f.Add("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nskaldstep: größe \"7\" 100%25 \\ end\nx: ")
	f.Fuzz(func(t *testing.T, lines string) {
		m := full()
		m.Headers = nil
		for line := range strings.SplitSeq(lines, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			m.Headers = append(m.Headers, skald.Header{Name: name, Value: value})
		}
		if m.Validate() != nil {
			return
		}
		w, err := cloudevents.Codec{}.Encode(&m)
		if err != nil {
			t.Fatalf("%q are valid and not encoded: %v", m.Headers, err)
		}
		back, err := cloudevents.Codec{}.Decode(w)
		if err != nil {
			t.Fatalf("%q are valid and not decoded: %v", m.Headers, err)
		}
		if !reflect.DeepEqual(back, m) {
			t.Fatalf("%q came back as %q", m.Headers, back.Headers)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	m := full()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (cloudevents.Codec{}).Encode(&m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	m := full()
	w, err := cloudevents.Codec{}.Encode(&m)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (cloudevents.Codec{}).Decode(w); err != nil {
			b.Fatal(err)
		}
	}
}
