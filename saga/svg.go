package saga

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/skald-go/skald"
)

// SVG draws the choreography as a picture that stands by itself: a box for each reaction, with its service;
// arrows with the events' names that lead from one to another; dashed boxes for undos; the start
// and the ends marked. The same declaration gives the same bytes.
func (c Choreography) SVG() []byte {
	g := c.graph()
	g.layout()
	d := drawing{}
	d.open(c, g)
	for i := range g.edges {
		d.edge(&g.edges[i])
	}
	for _, n := range g.nodes {
		d.node(n)
	}
	d.line("</svg>")
	return []byte(d.text.String())
}

// Sizes in the picture, in its units.
const (
	glyph      = 6.9 // width of a character on average, with some to spare
	lineHeight = 16.0
	padding    = 10.0
)

// graph makes a node of each reaction and each event, and joins them.
func (c *Choreography) graph() *graph {
	g := &graph{}
	events := map[skald.EventType]*node{}
	for _, e := range c.Events() {
		n := &node{class: "event", lines: []string{e.String()}}
		switch {
		case c.Starts != nil && e == typeOf(c.Starts):
			n.class, n.lines = "start", append(n.lines, "starts")
		case c.Completes != nil && e == typeOf(c.Completes):
			n.class, n.lines = "good", append(n.lines, "completes")
		case c.Compensates != nil && e == typeOf(c.Compensates):
			n.class, n.lines = "bad", append(n.lines, "compensates")
		}
		events[e] = g.add(n)
	}
	for _, r := range c.reactions() {
		n := &node{class: "reaction", box: true, lines: []string{r.service, r.Name}}
		if r.On.all && len(r.On.events) > 1 {
			n.lines = append(n.lines, "waits for all")
		}
		if r.Undoes != "" {
			n.class, n.lines = "undo", append(n.lines, "undoes “"+r.Undoes+"”")
		}
		g.add(n)
		for _, e := range r.On.events {
			g.join(events[e], n)
		}
		for _, e := range r.Emits {
			g.join(n, events[e])
		}
	}
	for _, n := range g.nodes {
		longest := 0
		for _, line := range n.lines {
			longest = max(longest, len([]rune(line)))
		}
		n.width, n.height = float64(longest)*glyph+2*padding, float64(len(n.lines))*lineHeight+padding
	}
	return g
}

type drawing struct{ text strings.Builder }

func (d *drawing) line(format string, args ...any) { fmt.Fprintf(&d.text, format+"\n", args...) }

func (d *drawing) open(c Choreography, g *graph) {
	title := escapeXML(fmt.Sprintf("Choreography %s, version %d", c.Name, c.version()))
	d.line(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">`, g.width, g.height, g.width, g.height, title)
	d.line(`<title>%s</title>`, title)
	d.line(`<style>
text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Arial, sans-serif; fill: #0f172a; text-anchor: middle }
.service { font-weight: 600 } .note { fill: #475569; font-style: italic }
rect { fill: #ffffff; stroke: #334155; stroke-width: 1.2 }
.undo rect { stroke-dasharray: 5 4 } .event rect { stroke: #cbd5e1; fill: #f8fafc }
.start rect { fill: #dbeafe; stroke: #1d4ed8 } .good rect { fill: #dcfce7; stroke: #15803d; stroke-width: 2 } .bad rect { fill: #fee2e2; stroke: #b91c1c; stroke-width: 2 }
path { fill: none; stroke: #64748b; stroke-width: 1.2 } .undoing { stroke-dasharray: 5 4 }
#arrow path { fill: #64748b; stroke: none }
</style>`)
	d.line(`<defs><marker id="arrow" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0.5 8 4 0 7.5z"/></marker></defs>`)
	d.line(`<path d="M0 0H%.0fV%.0fH0z" style="fill: #ffffff; stroke: none"/>`, g.width, g.height)
}

func (d *drawing) node(n *node) {
	if n.dummy() {
		return
	}
	radius := n.height / 2
	if n.box {
		radius = 4
	}
	d.line(`<g class="%s"><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.1f"/>`, n.class, n.x-n.width/2, n.y-n.height/2, n.width, n.height, radius)
	top := n.y - float64(len(n.lines))*lineHeight/2 + lineHeight*0.72
	for i, text := range n.lines {
		class := ""
		switch {
		case n.box && i == 0:
			class = ` class="service"`
		case n.box && i > 1, !n.box && i > 0:
			class = ` class="note"`
		}
		d.line(`<text%s x="%.1f" y="%.1f">%s</text>`, class, n.x, top+float64(i)*lineHeight, escapeXML(text))
	}
	d.line(`</g>`)
}

// edge draws a line from node to node, level wherever it passes a column. Only what leads to a reaction,
// or to an end, has an arrowhead: an event's name stands in the middle of its arrow.
func (d *drawing) edge(e *edge) {
	chain := slices.Clone(e.chain)
	if e.reversed {
		slices.Reverse(chain)
	}
	from := chain[0]
	way := 1.0 // to the right
	if e.reversed {
		way = -1
	}
	var path strings.Builder
	fmt.Fprintf(&path, "M%.1f %.1f", from.x+way*from.width/2, from.y)
	x, y := from.x+way*from.width/2, from.y
	for _, to := range chain[1:] {
		side := to.x - way*to.width/2
		bend := (side - x) / 2
		fmt.Fprintf(&path, "C%.1f %.1f %.1f %.1f %.1f %.1f", x+bend, y, side-bend, to.y, side, to.y)
		x, y = side, to.y
		if to.dummy() {
			x = to.x + way*to.width/2
			fmt.Fprintf(&path, "H%.1f", x)
		}
	}
	to := chain[len(chain)-1]
	head, class := "", ""
	if to.class != "event" {
		head = ` marker-end="url(#arrow)"`
	}
	if to.class == "undo" {
		class = ` class="undoing"`
	}
	d.line(`<path%s d="%s"%s/>`, class, path.String(), head)
}

func escapeXML(text string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		return ""
	}
	return b.String()
}
