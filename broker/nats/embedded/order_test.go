package embedded_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/inbox"
)

func TestMessagesOfAKeyArriveInOrderAcrossPartitions(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config())
	session := openSession(t, broker, "")
	const keys, rounds, perRound = 23, 10, 60
	next, perPartition := map[string]int{}, map[int]int{}
	for range rounds {
		var batch []skald.Message
		for i := range perRound {
			key := fmt.Sprint("order-", (i*7)%keys)
			batch = append(batch, event(key, next[key]))
			next[key]++
			perPartition[skald.Partition(key, 4)]++
		}
		publish(t, session, batch...)
	}
	seen := map[string]int{}
	for p := range 4 {
		for _, d := range receive(t, openReader(t, broker, "kitchen", p, inbox.Position{}), perPartition[p]) {
			key := d.Message.Key
			if got, want := d.Message.Headers.Get("number"), fmt.Sprint(seen[key]); got != want {
				t.Fatalf("key %s: number %s came where %s was expected", key, got, want)
			}
			seen[key]++
		}
	}
	if !reflect.DeepEqual(seen, next) {
		t.Errorf("came: %v, sent: %v", seen, next)
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, size := range []int{1, 2, 256, 257, 600} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			broker := connect(t, startServer(t, t.TempDir()).Config())
			var sent []skald.Message
			for i := range size {
				m := event("one", i)
				m.Kind, m.Version = skald.Kind(1+i%3), 1+i%5
				m.Headers = append(m.Headers, skald.Header{Name: "sagastep", Value: `größe "7" 100%`})
				m.Payload = bytes.Repeat([]byte{byte(i)}, i*5)
				sent = append(sent, m)
			}
			publish(t, openSession(t, broker, ""), sent...)
			got := receive(t, openReader(t, broker, "kitchen", skald.Partition("one", 4), inbox.Position{}), size)
			for i := range sent {
				same := func(a, b skald.Message) bool {
					payload := bytes.Equal(a.Payload, b.Payload)
					a.Payload, b.Payload = nil, nil
					return payload && reflect.DeepEqual(a, b)
				}
				if !same(got[i].Message, sent[i]) {
					t.Fatalf("message %d: sent %+v, got %+v", i, sent[i], got[i].Message)
				}
			}
		})
	}
}

func TestAPackKeepsThePositionBeforeItUntilItsLastMessage(t *testing.T) {
	broker := connect(t, startServer(t, t.TempDir()).Config())
	session := openSession(t, broker, "")
	p := skald.Partition("one", 4)
	publish(t, session, event("one", 0), event("one", 1))
	second := []skald.Message{event("one", 2), event("one", 3), event("one", 4)}
	publish(t, session, second...)

	reader := openReader(t, broker, "kitchen", p, inbox.Position{})
	got := receive(t, reader, 5)
	if got[0].Position != (inbox.Position{}) {
		t.Errorf("the first of the first pack has position %+v, not the beginning", got[0].Position)
	}
	after := got[1].Position
	if after.Sequence != 1 || after.Last != got[1].Message.ID || got[2].Position != after || got[3].Position != after {
		t.Errorf("positions within the second pack: %+v, %+v, behind the first: %+v", got[2].Position, got[3].Position, after)
	}
	if got[4].Position.Sequence != 2 || got[4].Position.Last != second[2].ID {
		t.Errorf("position behind the second pack: %+v", got[4].Position)
	}

	t.Run("and a reader that resumes within it gets it whole", func(t *testing.T) {
		again := receive(t, openReader(t, broker, "kitchen", p, got[3].Position), 3)
		ids := func(ds []inbox.Delivery) (ids []skald.ID) {
			for _, d := range ds {
				ids = append(ids, d.Message.ID)
			}
			return ids
		}
		if !slices.Equal(ids(again), ids(got[2:])) {
			t.Errorf("came again: %v", ids(again))
		}
	})
	t.Run("and a reader that resumes behind it gets nothing", func(t *testing.T) {
		nothingWaits(t, openReader(t, broker, "kitchen", p, got[4].Position))
	})
}
