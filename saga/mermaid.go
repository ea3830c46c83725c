package saga

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skald-go/skald"
)

// Mermaid draws the choreography as a Mermaid flowchart: a box for each reaction, an arrow for each
// event that leads from one to another, dashed boxes for undos. The same declaration gives the same text.
func (c Choreography) Mermaid() string {
	d := mermaid{all: c.reactions(), ends: c.ends()}
	d.line("flowchart LR")
	d.line("  start([start])")
	for i, r := range d.all {
		text := escapeMermaid(r.service) + "<br/>" + escapeMermaid(r.Name)
		if r.On.all && len(r.On.events) > 1 {
			text += "<br/>(waits for all)"
		}
		d.line("  r%d[\"%s\"]%s", i, text, map[bool]string{true: ":::undo"}[r.Undoes != ""])
	}
	for i, end := range d.ends {
		d.line("  end%d([\"%s\"])", i, escapeMermaid(end.String()))
	}
	d.arrows("start", []skald.EventType{typeOf(c.Starts)})
	for i, r := range d.all {
		d.arrows(fmt.Sprintf("r%d", i), r.Emits)
	}
	for i, r := range d.all {
		for j, other := range d.all {
			if r.Undoes != "" && r.service == other.service && r.Undoes == other.Name {
				d.line("  r%d -. undoes .-> r%d", i, j)
			}
		}
	}
	d.line("  classDef undo stroke-dasharray: 5 5")
	return d.text.String()
}

type mermaid struct {
	text strings.Builder
	all  []part
	ends []skald.EventType
}

func (d *mermaid) line(format string, args ...any) { fmt.Fprintf(&d.text, format+"\n", args...) }

// arrows draws what somebody's events lead to.
func (d *mermaid) arrows(from string, events []skald.EventType) {
	for _, e := range events {
		for i, r := range d.all {
			if slices.Contains(r.On.events, e) {
				d.line("  %s -- \"%s\" --> r%d", from, escapeMermaid(e.String()), i)
			}
		}
		if i := slices.Index(d.ends, e); i >= 0 {
			d.line("  %s --> end%d", from, i)
		}
	}
}

// ends are the events that end an instance.
func (c *Choreography) ends() []skald.EventType {
	var ends []skald.EventType
	for _, end := range []Event{c.Completes, c.Compensates} {
		if end != nil {
			ends = append(ends, typeOf(end))
		}
	}
	return ends
}

var mermaidEscapes = strings.NewReplacer(`"`, "#quot;", "#", "#35;", "&", "#amp;", "<", "#lt;", ">", "#gt;", "`", "#96;")

func escapeMermaid(text string) string { return mermaidEscapes.Replace(text) }
