package skald_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

func valid() skald.Message {
	return skald.Message{
		ID: skald.NewID(), Kind: skald.KindEvent, Channel: "ftgo.kitchen.events", Key: "Grüße/4711", Type: "ftgo.kitchen.ticket-created", Version: 2,
		Source: "kitchen", Time: time.Now().UTC().Truncate(time.Microsecond), ContentType: "application/json",
		Headers: skald.Headers{{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, {Name: "x", Value: ""}},
		Payload: []byte(`{"ticket":"1"}`),
	}
}

func TestAMessageSurvivesItsBinaryForm(t *testing.T) {
	full, empty := valid(), skald.Message{Time: time.Unix(0, 0).UTC()}
	for _, m := range []skald.Message{full, empty} {
		encoded, err := m.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back skald.Message
		if err := back.UnmarshalBinary(encoded); err != nil {
			t.Fatal(err)
		}
		if len(back.Payload) == 0 {
			back.Payload = nil
		}
		if !reflect.DeepEqual(m, back) {
			t.Errorf("got  %+v\nwant %+v", back, m)
		}
		for n := range encoded {
			if err := back.UnmarshalBinary(encoded[:n]); !errors.Is(err, skald.ErrMalformed) {
				t.Fatalf("cut at %d of %d: %v, want ErrMalformed", n, len(encoded), err)
			}
		}
		if err := back.UnmarshalBinary(append(encoded, 0)); !errors.Is(err, skald.ErrMalformed) {
			t.Errorf("with a byte behind its end: %v, want ErrMalformed", err)
		}
	}
}

func FuzzUnmarshalBinary(f *testing.F) {
	m := valid()
	encoded, _ := m.MarshalBinary()
	f.Add(encoded)
	f.Add([]byte{})
	f.Add([]byte{1, 3, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		var m, again skald.Message
		if err := m.UnmarshalBinary(data); err != nil {
			if !errors.Is(err, skald.ErrMalformed) {
				t.Fatalf("not ErrMalformed: %v", err)
			}
			return
		}
		encoded, _ := m.MarshalBinary()
		if err := again.UnmarshalBinary(encoded); err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

// Faults: 82, 84.
func TestValidateNamesEveryFault(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *skald.Message)
		say    string
	}{
		"no kind":            {func(m *skald.Message) { m.Kind = 0 }, "kind 0"},
		"no channel":         {func(m *skald.Message) { m.Channel = "" }, "channel"},
		"upper-case type":    {func(m *skald.Message) { m.Type = "TicketCreated" }, "type"},
		"line break in key":  {func(m *skald.Message) { m.Key = "a\r\nb" }, "key"},
		"key not UTF-8":      {func(m *skald.Message) { m.Key = "\xff" }, "key"},
		"key too long":       {func(m *skald.Message) { m.Key = strings.Repeat("k", skald.MaxKey+1) }, "key"},
		"version 0":          {func(m *skald.Message) { m.Version = 0 }, "version 0"},
		"payload too large":  {func(m *skald.Message) { m.Payload = make([]byte, skald.MaxPayload+1) }, "payload of 1048577 bytes"},
		"header name":        {func(m *skald.Message) { m.Headers.Set("Reply-To", "x") }, "Reply-To"},
		"reserved header":    {func(m *skald.Message) { m.Headers.Set("specversion", "1.0") }, "specversion: reserved"},
		"header line break":  {func(m *skald.Message) { m.Headers.Set("note", "a\nb") }, "note: value"},
		"header twice":       {func(m *skald.Message) { m.Headers = append(m.Headers, skald.Header{Name: "x"}) }, "x: given twice"},
		"headers too large":  {func(m *skald.Message) { m.Headers.Set("big", strings.Repeat("x", skald.MaxHeaders)) }, "headers of"},
		"content type":       {func(m *skald.Message) { m.ContentType = "a\x00b" }, "content type"},
		"name ends in a dot": {func(m *skald.Message) { m.Channel = "ftgo." }, "channel"},
	} {
		m := valid()
		c.change(&m)
		if err := m.Validate(); !errors.Is(err, skald.ErrInvalidMessage) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v; want ErrInvalidMessage that says %q", name, err, c.say)
		}
	}
	m := valid()
	if err := m.Validate(); err != nil {
		t.Errorf("a valid message: %v", err)
	}
}

func TestPartitionIsPartOfTheWireContract(t *testing.T) {
	// Fixed points: a peer of another version must agree.
	for key, want := range map[string]int{"": 5, "a": 4, "order-4711": 5, "Grüße": 0} {
		if got := skald.Partition(key, 8); got != want {
			t.Errorf("Partition(%q, 8) = %d, want %d", key, got, want)
		}
	}
	counts := make([]int, 4)
	for range 4000 {
		counts[skald.Partition(skald.NewID().String(), 4)]++
	}
	for n, count := range counts {
		if count < 800 || count > 1200 {
			t.Errorf("partition %d of 4 got %d of 4000 random keys", n, count)
		}
	}
}

func TestAContractIsCheckedAndCarriesItsKey(t *testing.T) {
	type order struct {
		ID string `json:"id"`
	}
	command := skald.Command[order, struct{}]{Name: "ftgo.order.approve", Channel: "ftgo.order", Key: func(o order) string { return o.ID }, Refusals: []string{"gone"}}
	m, err := command.Message(order{"4711"})
	if err != nil || m.Key != "4711" || m.Version != 1 || m.Kind != skald.KindCommand || string(m.Payload) != `{"id":"4711"}` {
		t.Errorf("message %+v, %v", m, err)
	}
	bad := skald.Command[order, struct{}]{Name: "Approve Order", Refusals: []string{"", "skald.barred"}}
	err = bad.Validate()
	for _, part := range []string{"name", "channel", `refusal code ""`, "skald.barred"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Validate says %v; want it to say %q", err, part)
		}
	}
}

func TestACommandMayBeNamedOnlyAsItsReplyCanBe(t *testing.T) {
	for length := skald.MaxName - 10; length <= skald.MaxName+1; length++ {
		command := skald.Command[string, string]{Name: strings.Repeat("c", length), Channel: "order"}
		request, err := command.Message("x")
		if err != nil {
			t.Fatal(err)
		}
		request.Headers.Set(skald.HeaderReplyTo, "replies")
		reply, err := skald.Reply(&request, "y", nil)
		if err != nil {
			t.Fatal(err)
		}
		if valid, answerable := command.Validate() == nil, reply.Validate() == nil; valid != answerable {
			t.Errorf("a name of %d bytes: valid %t, and its reply valid %t", length, valid, answerable)
		}
	}
}

func TestARefusalKeepsAndDetailsWithoutChangingItsOriginal(t *testing.T) {
	original := skald.Refuse("declined", "over the limit")
	changed := original.Keep().With(map[string]int{"short": 5})
	if original.Keeps() || original.Detail != nil || !changed.Keeps() || string(changed.Detail) != `{"short":5}` {
		t.Errorf("original %+v, changed %+v", original, changed)
	}
	if found, ok := skald.AsRefusal(errors.Join(errors.New("x"), changed)); !ok || found.Code != "declined" {
		t.Errorf("AsRefusal: %+v, %t", found, ok)
	}
}

// Faults: 83.
func TestAPayloadThatCannotBeReadIsMalformed(t *testing.T) {
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for name, payload := range map[string]string{"empty": "", "cut": `{"id":"4`, "not UTF-8": "{\"id\":\"\xff\"}", "another type": `{"id":4}`, "nested without end": `{"id":` + deep + `}`} {
		m := valid()
		m.Payload = []byte(payload)
		var content struct {
			ID string `json:"id"`
		}
		if err := skald.Decode(&m, &content); !errors.Is(err, skald.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}
