package main

import (
	"strings"
	"testing"
)

func TestTheQuickstartDoesWhatItSays(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = "order 4711 completed \norder 4712 compensated declined: over the card's limit\n"
	if out.String() != want {
		t.Errorf("it printed\n%swant\n%s", out.String(), want)
	}
}
