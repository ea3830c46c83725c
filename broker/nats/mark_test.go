package nats

import (
	"maps"
	"testing"

	"github.com/skald-go/skald"
)

func TestAMarkComesBackAsItWas(t *testing.T) {
	for _, m := range []mark{{}, {"a.b": {"INC", 7, skald.ID{1}}}, {"a": {"X", 1, skald.ID{}}, "b-c": {"Y", 1 << 63, skald.NewID()}}} {
		back, err := parseMark(m.String())
		if err != nil || !maps.Equal(back, m) {
			t.Errorf("%q came back as %v, error %v", m, back, err)
		}
	}
}

func TestAMarkKeepsTheLatestOfAnIncarnation(t *testing.T) {
	m := mark{}
	for _, step := range []struct{ add, want markEntry }{
		{markEntry{incarnation: "A", sequence: 5}, markEntry{incarnation: "A", sequence: 5}},
		{markEntry{incarnation: "A", sequence: 3}, markEntry{incarnation: "A", sequence: 5}},
		{markEntry{incarnation: "A", sequence: 9}, markEntry{incarnation: "A", sequence: 9}},
		{markEntry{incarnation: "B", sequence: 2}, markEntry{incarnation: "B", sequence: 2}},
	} {
		if m.advance("c", step.add); m["c"] != step.want {
			t.Errorf("after %+v: %+v", step.add, m["c"])
		}
	}
}
