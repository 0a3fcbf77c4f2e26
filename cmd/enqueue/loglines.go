package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// logLines print a log line by line instead of as it came: the last of it, from a time on, with
// the time of each line, or with whose it is. They belong to one goroutine, but for mu.
type logLines struct {
	// tail is how many lines of what is there already are printed, negative for all. since leaves
	// out what was printed before, stamp puts the time before each line, and label what follows.
	tail  int
	since time.Time
	stamp bool
	label string
	// out and errOut take whole lines; mu lets several logs share them.
	out, errOut io.Writer
	mu          *sync.Mutex

	build buildlog.Reader
	// open is a line of each stream that has not ended.
	open map[jobs.Stream]*logLine
	// kept are the last lines, until the log was caught up with.
	kept []logLine
}

type logLine struct {
	at     time.Time
	stream jobs.Stream
	text   []byte
}

// frame takes a frame of the log. A line has the time of its first byte.
func (l *logLines) frame(f jobs.Frame) {
	data := f.Data
	if f.Stream == jobs.BuildStatus {
		data = []byte(l.build.Lines(data))
	}
	for part := range bytes.Lines(data) {
		line := l.open[f.Stream]
		if line == nil {
			line = &logLine{at: f.At, stream: f.Stream}
		}
		line.text = append(line.text, part...)
		if part[len(part)-1] == '\n' {
			delete(l.open, f.Stream)
			l.line(*line)
			continue
		}
		if l.open == nil {
			l.open = map[jobs.Stream]*logLine{}
		}
		l.open[f.Stream] = line
	}
}

// line prints a line, or keeps it while it is not known whether it is among the last.
func (l *logLines) line(line logLine) {
	switch {
	case line.at.Before(l.since):
	case l.tail < 0:
		l.print(line)
	default:
		l.kept = append(l.kept, line)
		if len(l.kept) > 2*l.tail { // not for each line
			l.kept = slices.Clone(l.kept[len(l.kept)-l.tail:])
		}
	}
}

// caughtUp prints the last lines: what comes now is printed as it comes.
func (l *logLines) caughtUp() {
	if l.tail < 0 {
		return
	}
	for _, line := range l.kept[max(0, len(l.kept)-l.tail):] {
		l.print(line)
	}
	l.tail, l.kept = -1, nil
}

// close prints the lines that were left open, too, and has the colours reset that are left on.
func (l *logLines) close(reset func()) {
	for _, stream := range []jobs.Stream{jobs.BuildStatus, jobs.Stdout, jobs.Stderr, jobs.Note} {
		if line := l.open[stream]; line != nil {
			delete(l.open, stream)
			l.line(*line)
		}
	}
	l.caughtUp()
	l.mu.Lock()
	defer l.mu.Unlock()
	reset()
}

// note prints a line of the farm.
func (l *logLines) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.errOut, l.label+text)
}

// print writes a line in one piece. A writer that fails is not reported, as by view.
func (l *logLines) print(line logLine) {
	var b bytes.Buffer
	b.WriteString(l.label)
	if l.stamp {
		b.WriteString(line.at.UTC().Format("2006-01-02T15:04:05.000Z "))
	}
	b.Write(line.text)
	if l.label != "" && !bytes.HasSuffix(line.text, []byte("\n")) {
		b.WriteByte('\n') // another's line comes next
	}
	to := l.errOut
	if line.stream == jobs.Stdout {
		to = l.out
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = to.Write(b.Bytes())
}
