package skaldtest

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/skald-go/skald"
)

// A picture of an anomaly: a lane for each saga, with its local transactions from left to right, and one for
// each item between them, with the values that it has.

// scene of a picture.
type anomalyPicture struct {
	text  strings.Builder
	lanes []string
	boxes []pictureBox
	items []string
	at    []int // the operations that show the anomaly
	ops   []Operation
	start map[string]string // the first value of an item
}

// pictureBox is a local transaction.
type pictureBox struct {
	saga, name string
	undo       bool
	ops        []int // those on the picture's items
}

// Sizes in the picture, in its units.
const (
	pictureLabel  = 148.0
	pictureColumn = 124.0
	pictureLane   = 100.0
	pictureItem   = 74.0
	pictureTop    = 40.0
	pictureBoxH   = 70.0
)

var scriptLine = regexp.MustCompile(`gets (the reply to )?(do|undo) "([^"]+)" of (.+?)(?:, attempt \d+)?( \(refused\)|, and refuses: .+)?$`)

var cancelLine = regexp.MustCompile(`^(.+) is cancelled$`)

func drawOccurrence(scene anomalyScene, o Occurrence) []byte {
	p := &anomalyPicture{at: o.At, ops: o.History.Operations, start: map[string]string{}}
	for _, i := range o.At {
		if item := p.ops[i].Item; !slices.Contains(p.items, item) {
			p.items = append(p.items, item)
		}
	}
	for i := len(p.ops) - 1; i >= 0; i-- { // what an item was before the first change of it
		switch op := &p.ops[i]; op.Kind {
		case OperationWrite:
			delete(p.start, op.Item)
		case OperationAdd:
			if value, known := p.start[op.Item]; known {
				p.start[op.Item] = fmt.Sprint(number(value) - number(op.Value))
			}
		default:
			p.start[op.Item] = op.Value
		}
	}
	p.collect(strings.Split(o.Script, "\n"))
	p.lanes = []string{o.Saga, o.Other}
	if i := slices.IndexFunc(p.boxes, func(b pictureBox) bool { return b.saga != "" }); p.boxes[i].saga != p.lanes[0] {
		slices.Reverse(p.lanes)
	}
	return p.draw(fmt.Sprintf("%s: %s", scene.name, scene.story), o)
}

// collect makes a box of each local transaction that has anything to show.
func (p *anomalyPicture) collect(script []string) {
	for n, line := range script {
		parts := scriptLine.FindStringSubmatch(line)
		names := map[string]int{}
		for i := range p.ops {
			op := &p.ops[i]
			if op.Transaction != n+1 {
				continue
			}
			name := op.Action + op.Step
			if !slices.Contains(p.items, op.Item) && (parts == nil || parts[1] != "") {
				continue // local, and about something else
			}
			if _, there := names[name]; !there {
				names[name] = len(p.boxes)
				p.boxes = append(p.boxes, pictureBox{saga: op.Saga, name: op.Step, undo: op.undo()})
			}
			if slices.Contains(p.items, op.Item) {
				b := &p.boxes[names[name]]
				b.ops = append(b.ops, i)
			}
		}
		if len(names) == 0 && parts != nil && parts[1] == "" {
			name := parts[3]
			if strings.HasPrefix(parts[5], ", and refuses") {
				name += " is refused"
			}
			p.boxes = append(p.boxes, pictureBox{saga: parts[4], name: name, undo: parts[2] == skald.ActionUndo})
		}
		if cancelled := cancelLine.FindStringSubmatch(line); cancelled != nil {
			p.boxes = append(p.boxes, pictureBox{saga: cancelled[1], name: "cancelled"})
		}
	}
}

func (p *anomalyPicture) line(format string, args ...any) { fmt.Fprintf(&p.text, format+"\n", args...) }

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}

func (p *anomalyPicture) draw(title string, o Occurrence) []byte {
	width := pictureLabel + float64(len(p.boxes))*pictureColumn + 70
	height := pictureTop + 2*pictureLane + float64(len(p.items))*pictureItem + 14
	p.line(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">`, width, height, width, height, escaped(title))
	p.line("<title>%s</title>", escaped(title))
	p.line(`<style>
text { font: 12px ui-sans-serif, system-ui, "Segoe UI", Arial, sans-serif; fill: #0f172a; text-anchor: middle }
.title { font-size: 14px; font-weight: 600; text-anchor: start } .lane { text-anchor: start; font-weight: 600 } .note { fill: #475569; text-anchor: start }
.step { font-weight: 600 } .page { fill: #ffffff } .track { stroke: #cbd5e1; stroke-width: 1.2 }
rect.box { fill: #f8fafc; stroke: #64748b; stroke-width: 1.2 } rect.undo { stroke-dasharray: 5 4 }
rect.hit { fill: #fee2e2; stroke: #b91c1c; stroke-width: 2 } text.hit { fill: #991b1b; font-weight: 600 }
rect.value { fill: #e0f2fe; stroke: #7dd3fc } text.value { fill: #0c4a6e }
path { fill: none; stroke: #64748b; stroke-width: 1.4 } path.hit { stroke: #b91c1c; stroke-width: 2 }
#tip path { fill: #64748b; stroke: none } #tip-hit path { fill: #b91c1c; stroke: none }
@media (prefers-color-scheme: dark) {
text { fill: #e2e8f0 } .note { fill: #94a3b8 } .page { fill: #0f172a } .track { stroke: #334155 }
rect.box { fill: #1e293b; stroke: #94a3b8 } rect.hit { fill: #450a0a; stroke: #f87171 } text.hit { fill: #fecaca }
rect.value { fill: #0c4a6e; stroke: #0369a1 } text.value { fill: #e0f2fe }
path { stroke: #94a3b8 } path.hit { stroke: #f87171 } #tip path { fill: #94a3b8 } #tip-hit path { fill: #f87171 }
}
</style>`)
	for _, id := range []string{"tip", "tip-hit"} {
		p.line(`<defs><marker id="%s" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0.5 8 4 0 7.5z"/></marker></defs>`, id)
	}
	p.line(`<rect class="page" width="%.0f" height="%.0f" rx="6"/>`, width, height)
	p.line(`<text class="title" x="16" y="26">%s</text>`, escaped(strings.ToUpper(title[:1])+title[1:]))
	for i, lane := range p.lanes {
		y := p.laneY(i)
		p.line(`<text class="lane" x="16" y="%.1f">%s</text>`, y-3, escaped(lane))
		p.line(`<text class="note" x="16" y="%.1f">%s</text>`, y+14, o.History.Ended[lane])
		p.line(`<path class="track" d="M%.1f %.1fH%.1f"/>`, pictureLabel, y, width-16)
	}
	for i, item := range p.items {
		p.values(i, item, width)
	}
	for n := range p.boxes {
		p.arrows(n)
	}
	for n := range p.boxes {
		p.box(n)
	}
	p.line("</svg>")
	return []byte(p.text.String())
}

// laneY is the middle of a saga's lane: one above the items, one below.
func (p *anomalyPicture) laneY(lane int) float64 {
	return pictureTop + pictureLane/2 + float64(lane)*(pictureLane+float64(len(p.items))*pictureItem)
}

func (p *anomalyPicture) itemY(item int) float64 {
	return pictureTop + pictureLane + pictureItem*(float64(item)+0.5)
}

func columnX(n int) float64 { return pictureLabel + (float64(n)+0.5)*pictureColumn }

func (p *anomalyPicture) hit(op int) bool { return slices.Contains(p.at, op) }

// values draws what an item is, and until when.
func (p *anomalyPicture) values(item int, name string, width float64) {
	y := p.itemY(item)
	service, rest, _ := strings.Cut(name, "/")
	p.line(`<text class="lane" x="16" y="%.1f">%s</text>`, y-1, escaped(strings.ReplaceAll(rest, "/", " ")))
	p.line(`<text class="note" x="16" y="%.1f">%s</text>`, y+15, escaped(service))
	value, from := p.start[name], pictureLabel
	draw := func(to float64) {
		if value == "" {
			value = "nothing"
		}
		p.line(`<rect class="value" x="%.1f" y="%.1f" width="%.1f" height="26" rx="13"/><text class="value" x="%.1f" y="%.1f">%s</text>`,
			from+2, y-13, to-from-4, from+min(to-from, pictureColumn)/2, y+4, escaped(value))
	}
	for n, b := range p.boxes {
		for _, i := range b.ops {
			if op := &p.ops[i]; op.Item == name && op.changes() {
				if x := columnX(n); x > from {
					draw(x)
					from = x
				}
				value = after(value, op)
			}
		}
	}
	draw(width - 16)
}

func after(value string, op *Operation) string {
	if op.Kind == OperationAdd {
		return fmt.Sprint(number(value) + number(op.Value))
	}
	return op.Value
}

// arrows lead from an item to the step that reads it, and from the step that changes it to the item.
func (p *anomalyPicture) arrows(n int) {
	b := &p.boxes[n]
	lane := slices.Index(p.lanes, b.saga)
	for k, i := range b.ops {
		op := &p.ops[i]
		x := columnX(n) + 14*(float64(k)-float64(len(b.ops)-1)/2)
		down := 1.0
		if lane == 1 {
			down = -1
		}
		step, item := p.laneY(lane)+down*pictureBoxH/2, p.itemY(slices.Index(p.items, op.Item))-down*15
		if op.Kind == OperationRead {
			step, item = item, step
		}
		class, tip := "", "tip"
		if p.hit(i) {
			class, tip = ` class="hit"`, "tip-hit"
		}
		p.line(`<path%s d="M%.1f %.1fV%.1f" marker-end="url(#%s)"/>`, class, x, step, item, tip)
	}
}

func (p *anomalyPicture) box(n int) {
	b := &p.boxes[n]
	lane := slices.Index(p.lanes, b.saga)
	if lane < 0 {
		return
	}
	class := "box"
	if b.undo {
		class += " undo"
	}
	if slices.ContainsFunc(b.ops, p.hit) {
		class += " hit"
	}
	x, y := columnX(n), p.laneY(lane)
	p.line(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="5"/>`, class, x-pictureColumn/2+3, y-pictureBoxH/2, pictureColumn-6, pictureBoxH)
	name := b.name
	if b.undo {
		name = "undo: " + name
	}
	lines := []pictureLine{}
	for _, text := range wrapped(name) {
		lines = append(lines, pictureLine{text, "step"})
	}
	for _, i := range b.ops {
		if p.hit(i) || !p.skips(b.ops) {
			class := "op"
			if p.hit(i) {
				class = "hit"
			}
			lines = append(lines, pictureLine{says(&p.ops[i]), class})
		}
	}
	lines = lines[:min(len(lines), 4)]
	top := y - float64(len(lines))*7.5 + 11.5
	for i, l := range lines {
		p.line(`<text class="%s" x="%.1f" y="%.1f">%s</text>`, l.class, x, top+float64(i)*15, escaped(l.text))
	}
}

type pictureLine struct{ text, class string }

// skips reports whether a box has no room for what does not matter.
func (p *anomalyPicture) skips(ops []int) bool { return len(ops) > 2 }

func says(op *Operation) string {
	value := op.Value
	if value == "" {
		value = "nothing"
	}
	switch {
	case op.Kind == OperationRead:
		return "reads " + value
	case op.Kind == OperationWrite:
		return "writes " + value
	case strings.HasPrefix(value, "-"):
		return "takes " + value[1:]
	default:
		return "adds " + value
	}
}

// wrapped is a step's name in lines that a box has room for.
func wrapped(name string) []string {
	if len(name) <= 15 {
		return []string{name}
	}
	if at := strings.LastIndex(name[:16], " "); at > 0 {
		return append([]string{name[:at]}, wrapped(name[at+1:])...)
	}
	return []string{name}
}
