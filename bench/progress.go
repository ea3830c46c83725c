package main

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows on a terminal how far a run is, and elsewhere says each phase once.
type progress struct {
	out   io.Writer
	bars  *mpb.Progress
	bar   *mpb.Bar
	phase string
}

func newProgress(out *os.File) *progress {
	p := &progress{out: out}
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	}
	return p
}

// report takes phases one after the other; done counts up to total.
func (p *progress) report(phase string, done, total int) {
	if p.bars == nil {
		if phase != p.phase {
			fmt.Fprintln(p.out, phase)
		}
		p.phase = phase
		return
	}
	if p.bar == nil {
		p.bar = p.bars.AddBar(int64(total), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return p.phase })), mpb.AppendDecorators(decor.Percentage()))
	}
	p.phase = phase
	p.bar.SetCurrent(int64(done))
}

func (p *progress) close() {
	if p.bar != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}
