package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/pack"
)

// contextProgress draws one line on a terminal while a context is packed and
// sent. A nil one draws nothing.
type contextProgress struct {
	w       io.Writer
	now     func() time.Time
	started time.Time
	drawn   time.Time
	// sent is how far the sending was the last time.
	sent int64
}

// contextProgress is nil where it would not be shown.
func (a *app) contextProgress(show bool) *contextProgress {
	if !show || !isTerminal(a.stderr) || a.dumb() {
		return nil
	}
	return &contextProgress{w: a.stderr, now: time.Now, started: time.Now()}
}

// redrawn is how often the line changes.
const redrawn = 100 * time.Millisecond

// due tells whether it is time to draw, and how long the stage has taken.
func (p *contextProgress) due() (took time.Duration, ok bool) {
	now := p.now()
	if now.Sub(p.drawn) < redrawn {
		return 0, false
	}
	p.drawn = now
	return now.Sub(p.started), true
}

// packing is told what was packed so far.
func (p *contextProgress) packing(r pack.Report) {
	took, ok := p.due()
	if !ok {
		return
	}
	line := fmt.Sprintf("packing  %s, %s, %s", count(r.Files, "file"), amount(r.Bytes), rate(r.Bytes, took))
	if r.Ignored > 0 {
		line += fmt.Sprintf(", %d left out", r.Ignored)
	}
	p.draw(line)
}

// sending is told how much was sent, and how much there is.
func (p *contextProgress) sending(sent, total int64) {
	if p.sent == 0 || sent <= p.sent { // it begins, maybe again
		p.started = p.now()
	}
	p.sent = sent
	took, ok := p.due()
	if !ok || total == 0 {
		return
	}
	const width = 30
	full := int(width * sent / total)
	bar := strings.Repeat("=", full) + strings.Repeat(" ", width-full)
	p.draw(fmt.Sprintf("sending  [%s] %s of %s, %s", bar, amount(sent), amount(total), rate(sent, took)))
}

func (p *contextProgress) draw(line string) { fmt.Fprintf(p.w, "\r%s\x1b[K", line) }

// clear removes the line.
func (p *contextProgress) clear() {
	if p != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// options says who is told of what.
func (p *contextProgress) options(o pack.UploadOptions) pack.UploadOptions {
	if p != nil {
		o.Pack.Progress, o.Sending = p.packing, p.sending
	}
	return o
}

func rate(n int64, took time.Duration) string {
	if took < time.Millisecond {
		return "-/s"
	}
	return amount(int64(float64(n)/took.Seconds())) + "/s"
}
