package skald

import (
	"math"
	"testing"
)

func TestWhatFollowsFromAMessageCarriesItsCorrelation(t *testing.T) {
	c := Correlation{ID: NewID(), Choreography: "order.create", Hops: 3}
	for kind, hops := range map[Kind]int{KindEvent: 4, KindCommand: 3} {
		m := Message{Kind: kind}
		m.Correlate(c)
		if got := m.Correlation(); got != c {
			t.Errorf("%s carries %+v, want %+v", kind, got, c)
		}
		want := c
		want.Hops = hops
		if got := CorrelationFrom(WithCause(t.Context(), &m)); got != want {
			t.Errorf("what follows from the %s carries %+v, want %+v", kind, got, want)
		}
	}
}

func TestAMessagesOwnCorrelationIsKept(t *testing.T) {
	own := Correlation{ID: NewID(), Choreography: "own", Hops: 1}
	m := Message{Kind: KindEvent, Headers: make(Headers, 0, 8)}
	m.Correlate(own)
	m.Correlate(Correlation{ID: NewID(), Choreography: "other", Hops: 2})
	if got := m.Correlation(); got != own {
		t.Errorf("%+v, want %+v", got, own)
	}
}

func TestCorrelatingDoesNotChangeTheHeadersThatWereGiven(t *testing.T) {
	given := make(Headers, 0, 8)
	for _, name := range []string{"one", "other"} {
		m := Message{Kind: KindEvent, Headers: given}
		m.Correlate(Correlation{ID: NewID(), Choreography: name})
		if all := given[:cap(given)]; all[0].Name != "" {
			t.Fatalf("the array behind them has %+v", all)
		}
	}
}

func TestMalformedCorrelations(t *testing.T) {
	for hops, want := range map[string]int{"": 0, "7": 7, "-1": math.MaxInt, "many": math.MaxInt, "99999999999": math.MaxInt} {
		m := Message{Kind: KindEvent, Headers: Headers{{HeaderHops, hops}, {HeaderCorrelation, "no id"}}}
		if got := m.Correlation(); got.Hops != want || !got.ID.IsZero() {
			t.Errorf("hops %q: %+v", hops, got)
		}
		if got := m.Onward().Hops; got < want {
			t.Errorf("hops %q: onward %d", hops, got)
		}
	}
}

func TestUncorrelatedStillCountsHops(t *testing.T) {
	ctx := WithCorrelation(t.Context(), Correlation{ID: NewID(), Choreography: "x", Hops: 2})
	if got := CorrelationFrom(Uncorrelated(ctx)); got != (Correlation{Hops: 2}) {
		t.Errorf("%+v", got)
	}
}
