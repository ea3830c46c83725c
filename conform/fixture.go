package conform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
)

// patience bounds every wait for what must happen.
var patience = 30 * time.Second

// checker reports on one promise.
type checker struct {
	*testing.T
	promise string
}

// broken fails the case and says how.
func (c checker) broken(format string, args ...any) {
	c.Helper()
	c.Fatalf("broken promise: %s\n\t%s", c.promise, fmt.Sprintf(format, args...))
}

// must fails the case when what it needs to do fails.
func (c checker) must(err error, doing string) {
	c.Helper()
	if err != nil {
		c.broken("%s: %v", doing, err)
	}
}

// isError fails unless target is in err's chain.
func (c checker) isError(err, target error) {
	c.Helper()
	if !errors.Is(err, target) {
		c.broken("the error is %v, and should be: %v", err, target)
	}
}

// patient is a context for what must happen soon.
func (c checker) patient() context.Context {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	c.Cleanup(cancel)
	return ctx
}

// eventually calls ok until it is true.
func (c checker) eventually(what string, ok func() bool) {
	c.Helper()
	ctx := c.patient()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.broken("within %s there was never %s", patience, what)
		}
	}
}

// pause lets real time pass, where a promise is about a moment that comes.
func (c checker) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Context().Done():
	}
}

// await returns what a goroutine of the case sends.
func await[T any](c checker, what string, from <-chan T) T {
	c.Helper()
	select {
	case v := <-from:
		return v
	case <-c.patient().Done():
		c.broken("within %s there was no end of: %s", patience, what)
		panic("unreachable")
	}
}

// same fails unless the sets are equal, whatever their order.
func same[T comparable](c checker, what string, got, want []T) {
	c.Helper()
	rest := slices.Clone(got)
	for _, w := range want {
		i := slices.Index(rest, w)
		if i < 0 {
			c.broken("%s: got %v, want %v", what, got, want)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	if len(rest) > 0 {
		c.broken("%s: got %v, want %v", what, got, want)
	}
}

// now is the time to the microsecond, as stores keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// soon is a moment at which everything made due now is due, clocks differing a little.
func soon() time.Time { return now().Add(2 * time.Second) }

// message makes a message of a key.
func message(key string) skald.Message {
	return skald.Message{
		ID: skald.NewID(), Kind: skald.KindEvent, Channel: "conform.events", Key: key, Type: "conform.happened",
		Version: 1, Source: "conform", Time: now(), Payload: []byte(`{"n":1}`),
	}
}

// messages makes n messages of a key.
func messages(key string, n int) []skald.Message {
	list := make([]skald.Message, n)
	for i := range list {
		list[i] = message(key)
	}
	return list
}

// peculiar are messages whose every field is hard to carry.
func peculiar() []skald.Message {
	full := message("Zürich » 東京 'quoted\" \\ % _ * > . /")
	full.Kind, full.Version, full.Source = skald.KindCommand, 7, "order-service"
	full.ContentType = "application/octet-stream"
	full.Headers = skald.Headers{
		{Name: skald.HeaderTraceParent, Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Name: skald.HeaderReplyTo, Value: "order.replies"},
		{Name: "zz9", Value: "grün, 100 % \"quoted\"; a=b  c"},
		{Name: "a1", Value: "x"},
	}
	full.Payload = make([]byte, 256)
	for i := range full.Payload {
		full.Payload[i] = byte(i)
	}
	keyless, reply, long, old := message(""), message("k"), message(strings.Repeat("é", skald.MaxKey/2)), message("k")
	keyless.Payload = nil
	reply.Kind, reply.ContentType = skald.KindReply, skald.ContentTypeJSON
	long.Type, long.Payload = strings.Repeat("t", skald.MaxName), []byte(" {\"spaces\" : [1 , 2] }\n")
	old.Time = time.Date(1970, 1, 1, 0, 0, 0, 1000, time.UTC)
	return []skald.Message{full, keyless, reply, long, old}
}

func ids(list []skald.Message) []skald.ID {
	all := make([]skald.ID, len(list))
	for i := range list {
		all[i] = list[i].ID
	}
	return all
}

// difference names the fields in which two messages differ; nil and empty are the same.
func difference(got, want skald.Message) string {
	var fields []string
	check := func(field string, got, want any) {
		if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
			fields = append(fields, fmt.Sprintf("%s is %.300s, not %.300s", field, g, w))
		}
	}
	check("id", got.ID.String(), want.ID.String())
	check("kind", got.Kind, want.Kind)
	check("channel", got.Channel, want.Channel)
	check("key", got.Key, want.Key)
	check("type", got.Type, want.Type)
	check("version", fmt.Sprint(got.Version), fmt.Sprint(want.Version))
	check("source", got.Source, want.Source)
	check("time", got.Time.UTC().Format(time.RFC3339Nano), want.Time.UTC().Format(time.RFC3339Nano))
	check("content type", got.ContentType, want.ContentType)
	check("headers", got.Headers.Clone(), want.Headers.Clone())
	check("payload", string(got.Payload), string(want.Payload))
	return strings.Join(fields, "; ")
}

// outsider is a transaction of no store.
type outsider struct{ skald.Tx }
