package main

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Lines of two streams that come in pieces stay whole, and what comes after the log was
// caught up with is printed at once.
func TestLogLines(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	var out, errOut strings.Builder
	l := &logLines{tail: 2, since: at(1), label: "a | ", out: &out, errOut: &errOut, mu: &sync.Mutex{}}
	write := func(s int, to jobs.Stream, text string) {
		l.frame(jobs.Frame{Stream: to, At: at(s), Data: []byte(text)})
	}
	write(0, jobs.Stdout, "too old\nas")
	write(1, jobs.Stderr, "one\n")
	write(2, jobs.Stdout, " old\ntwo\n")
	write(3, jobs.Stdout, "th")
	write(3, jobs.Stderr, "between\n")
	write(4, jobs.Stdout, "ree\n")
	if out.Len()+errOut.Len() > 0 {
		t.Errorf("before all has come it printed %q and %q", out.String(), errOut.String())
	}
	l.caughtUp()
	if out.String() != "a | three\n" || errOut.String() != "a | between\n" {
		t.Errorf("the last lines are %q and %q", out.String(), errOut.String())
	}
	out.Reset()
	write(5, jobs.Stdout, "four\nfi")
	if out.String() != "a | four\n" {
		t.Errorf("live it printed %q", out.String())
	}
	l.close(func() {})
	if out.String() != "a | four\na | fi\n" {
		t.Errorf("at the end it has printed %q", out.String())
	}
}
