package choreographies_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skald-go/skald/examples/ftgo/api/choreographies"
	"github.com/skald-go/skald/examples/ftgo/api/consumerapi"
	"github.com/skald-go/skald/examples/ftgo/api/kitchenapi"
	"github.com/skald-go/skald/saga"
)

var update = flag.Bool("update", false, "draw the pictures of the guide anew; look at them")

// The Mermaid text of the guide's page is between these two.
const (
	begins = "<!-- drawn from the declaration: go test ./api/choreographies -update -->\n"
	ends   = "<!-- end of what is drawn -->"
)

func TestTheGuideShowsTheChoreographyAsItIsDeclared(t *testing.T) {
	guide := filepath.Join("..", "..", "..", "..", "docs", "guide")
	picture, page := filepath.Join(guide, "ftgo-create-order.svg"), filepath.Join(guide, "ftgo.md")
	current(t, picture, func(string) string { return string(choreographies.CreateOrder.SVG()) })
	current(t, page, func(text string) string {
		before, rest, found := strings.Cut(text, begins)
		_, after, closed := strings.Cut(rest, ends)
		if !found || !closed {
			t.Fatalf("%s has no place for the drawing", page)
		}
		return before + begins + "```mermaid\n" + choreographies.CreateOrder.Mermaid() + "```\n" + ends + after
	})
}

// current fails the test unless a file is what draw makes of it.
func current(t *testing.T, path string, draw func(string) string) {
	t.Helper()
	read, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	drawn := draw(string(read))
	if *update {
		if err := os.WriteFile(path, []byte(drawn), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if drawn != string(read) {
		t.Errorf("%s is not what is declared: run this test with -update, and look at it", path)
	}
}

func TestTheDeclarationIsSound(t *testing.T) {
	if err := choreographies.CreateOrder.Validate(); err != nil {
		t.Error(err)
	}
}

// Somebody has the consumer service look again whenever a ticket is made, and the kitchen make one whenever
// it has looked.
func TestAReactionThatGoesRoundAndRoundIsReported(t *testing.T) {
	round := choreographies.CreateOrder
	round.Participants = append([]saga.Participant{}, round.Participants...)
	for i, on := range map[int]saga.Event{0: kitchenapi.TicketCreated, 1: consumerapi.ConsumerVerified} {
		p := &round.Participants[i]
		p.Reactions = append([]saga.Reaction{}, p.Reactions...)
		p.Reactions[0].On = saga.On(round.Starts, on)
	}
	err := round.Validate()
	want := `a cycle without an end: "verify consumer" of consumer reacts to ftgo.kitchen.ticket-created with ftgo.consumer.consumer-verified, ` +
		`then "create ticket" of kitchen reacts to ftgo.consumer.consumer-verified with ftgo.kitchen.ticket-created; break it`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}
