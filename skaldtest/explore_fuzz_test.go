package skaldtest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/saga"
)

// FuzzDefinitionsAreRefusedOrKeepTheirPromises builds definitions of every shape, with names,
// functions, commands and times that are missing or odd: either the registration says what is
// wrong, or the saga runs through its courses and keeps its promises.
func FuzzDefinitionsAreRefusedOrKeepTheirPromises(f *testing.F) {
	f.Add("\x04\x00\x00\x0e\x01\x0e\x00\x01")                         // one call that is undone
	f.Add("\x07\x00\x00\x01\x01\x00\x01\x06\x01\x03\x02\x0e\x02\x00") // a local step, a pivot and a retriable step
	f.Add("\x04\x00\x00\x02\x00\x00")                                 // a nil function
	f.Fuzz(func(t *testing.T, shape string) {
		definition := shaped(shape)
		if _, err := saga.Describe(definition); err != nil {
			return
		}
		var broken *Counterexample
		if _, err := explore(t.Context(), definition, []ExploreOption{From(exploredOrder{Order: "1"}), MaxStates(500)}); errors.As(err, &broken) {
			t.Errorf("a definition that is not refused breaks its promises: %+v\n%v", definition, broken)
		}
	})
}

// shape is what is left of the text that a definition is drawn from.
type shape string

// one draws a number below n; 0 when nothing is left.
func (s *shape) one(n int) int {
	if *s == "" {
		return 0
	}
	drawn := int((*s)[0]) % n
	*s = (*s)[1:]
	return drawn
}

func shaped(text string) saga.Definition[exploredOrder] {
	s := shape(text)
	counts := s.one(24)
	d := saga.Definition[exploredOrder]{Name: "order.shaped"}
	switch s.one(8) {
	case 6:
		d.Name, d.Version = "", -1
	case 7:
		d.Version = 7
	}
	for range counts % 3 {
		step := saga.Compensatable[exploredOrder]{Name: s.name(), Do: s.action(), Undo: s.action(), Deadline: s.duration()}
		d.Compensatable = append(d.Compensatable, step)
	}
	if counts/3%2 == 0 {
		d.Pivot = saga.Step[exploredOrder]{Name: s.name(), Do: s.action(), Bar: s.duration()}
	}
	for range counts / 6 % 3 {
		d.Retriable = append(d.Retriable, saga.Step[exploredOrder]{Name: s.name(), Do: s.action(), Bar: s.duration()})
	}
	return d
}

func (s *shape) name() string {
	switch n := s.one(20); n {
	case 8:
		return ""
	case 9:
		return "Grüße\n"
	case 10:
		return strings.Repeat("n", skald.MaxName+s.one(2))
	case 11:
		n := min(s.one(8), len(*s))
		name := string((*s)[:n])
		*s = (*s)[n:]
		return name
	default:
		return string(rune('a' + n))
	}
}

func (s *shape) duration() time.Duration {
	return []time.Duration{0, 0, 0, time.Second, time.Second, time.Nanosecond, 1<<63 - 1, -time.Second}[s.one(8)]
}

func (s *shape) action() saga.Action[exploredOrder] {
	type (
		call  = saga.CallAction[exploredOrder, exploredReply]
		local = saga.LocalAction[exploredOrder]
	)
	ask := saga.Call[exploredOrder, exploredOrder, exploredReply]
	switch s.one(28) {
	case 0:
		return nil
	case 1:
		return saga.Local(nothing)
	case 2:
		return saga.Local[exploredOrder, *Tx](nil)
	case 6:
		return ask(s.command(), exploredOrder.itself).Refused((*exploredOrder).because)
	case 7:
		return ask(s.command(), exploredOrder.itself).Refused(nil)
	case 8:
		return ask(s.command(), exploredOrder.itself).Then(func(o *exploredOrder, r exploredReply) { o.Ticket = r.Ticket })
	case 9:
		return ask(s.command(), exploredOrder.itself).Then(nil)
	case 10:
		return ask(s.command(), nil)
	case 11:
		return ask(s.command(), func(o exploredOrder) exploredOrder { return exploredOrder{Order: o.Order} })
	case 12:
		return call{}
	case 13:
		return local{}
	default:
		return ask(s.command(), exploredOrder.itself)
	}
}

func (s *shape) command() skald.Command[exploredOrder, exploredReply] {
	n := s.one(24)
	c := exploredCommand("command-"+string(rune('a'+n%3)), string(rune('a'+n/3%2)))
	if n%3 == 1 {
		c.Refusals = []string{"no"}
	}
	switch n {
	case 12:
		c.Name = "A Command"
	case 13:
		c.Channel = ""
	case 14:
		c.Version = -1
	case 15:
		c.Key = nil
	}
	return c
}
