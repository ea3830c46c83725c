package main

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/skald-go/skald/examples/ftgo/demo"
	"github.com/skald-go/skald/examples/ftgo/load"
)

// newProgress shows a bar on a terminal, and plain lines elsewhere, of so many of something.
func newProgress(out io.Writer, of string) demo.Watch {
	if isTerminal(out) {
		return &bars{out: out}
	}
	return &lines{out: out, of: of}
}

// bars are one after the other, one for each phase.
type bars struct {
	out      io.Writer
	progress *mpb.Progress
	bar      *mpb.Bar
}

// Phase implements [demo.Watch].
func (b *bars) Phase(name string, orders int) {
	b.progress = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
	b.bar = b.progress.AddBar(int64(orders),
		mpb.PrependDecorators(decor.Name(name, decor.WC{W: 16, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.CountersNoUnit("%d of %d"), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
}

// Counts implements [demo.Watch].
func (b *bars) Counts(c load.Counts) { b.bar.SetCurrent(int64(c.Done())) }

// Done implements [demo.Watch].
func (b *bars) Done() {
	b.bar.Abort(false) // does nothing to a bar that is complete
	b.progress.Wait()
}

// linesEvery is how often a plain line is printed.
const linesEvery = 2 * time.Second

// lines tell about a phase now and then.
type lines struct {
	out    io.Writer
	of     string
	name   string
	orders int
	next   time.Time
}

// Phase implements [demo.Watch].
func (l *lines) Phase(name string, orders int) {
	l.name, l.orders, l.next = name, orders, time.Now().Add(linesEvery)
	fmt.Fprintf(l.out, "%s: %d %s\n", name, orders, l.of)
}

// Counts implements [demo.Watch].
func (l *lines) Counts(c load.Counts) {
	if now := time.Now(); now.After(l.next) {
		l.next = now.Add(linesEvery)
		fmt.Fprintf(l.out, "%s: %d of %d%s\n", l.name, c.Done(), l.orders, aside(c))
	}
}

// Done implements [demo.Watch].
func (l *lines) Done() {}

// aside is what else a line tells.
func aside(c load.Counts) string {
	if c.Asked > 0 {
		return fmt.Sprintf(", %d accepted, %d conflicts", c.Accepted, c.Conflicts)
	}
	return fmt.Sprintf(" ended, %d open", c.Open)
}
