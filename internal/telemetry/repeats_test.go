package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRepeatedTroubleIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		lg := NewLogger(&out, "info").With("worker", "one")
		lines := func() (all []string) {
			for line := range strings.Lines(out.String()) {
				_, rest, _ := strings.Cut(line, `"msg":`)
				all = append(all, strings.TrimSpace(rest))
			}
			out.Reset()
			return all
		}
		want := func(want ...string) {
			t.Helper()
			if got := lines(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		for i := range 90 {
			lg.Warn("renew lease failed", "job_id", "a1", "err", fmt.Errorf("read tcp 127.0.0.1:%d: i/o timeout", 40000+i))
			time.Sleep(time.Second)
		}
		want(`"renew lease failed","worker":"one","job_id":"a1","err":"read tcp 127.0.0.1:40000: i/o timeout"}`,
			`"renew lease failed","worker":"one","job_id":"a1","err":"read tcp 127.0.0.1:40060: i/o timeout","repeated":59}`)

		// Another job, another error, another level, another worker: other lines.
		lg.Warn("renew lease failed", "job_id", "a2", "err", errors.New("EOF"))
		lg.Warn("renew lease failed", "job_id", "a1", "err", errors.New("EOF"))
		lg.Error("renew lease failed", "job_id", "a1", "err", errors.New("EOF"))
		lg.With("host", "h").Warn("renew lease failed", "job_id", "a1", "err", errors.New("EOF"))
		if got := lines(); len(got) != 4 {
			t.Errorf("four lines became %q", got)
		}
		// What is no trouble is an event each time.
		for range 3 {
			lg.Info("took a job", "job_id", "a1")
		}
		if got := lines(); len(got) != 3 {
			t.Errorf("three events became %q", got)
		}
		// What was forgotten is written again, with no count.
		for i := range 2 * maxRemembered {
			lg.Warn("trouble", "job_id", fmt.Sprint(i))
		}
		if got := lines(); len(got) != 2*maxRemembered {
			t.Errorf("%d lines of %d", len(got), 2*maxRemembered)
		}
	})
}

func TestRepeatsRemembersNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	s := &seen{lines: map[string]*line{}}
	at := time.Unix(0, 0)
	for i := range 3*maxRemembered + 5 {
		s.add(fmt.Sprint(i), at)
		at = at.Add(time.Second)
		if len(s.lines) > maxRemembered {
			t.Fatalf("%d lines are remembered", len(s.lines))
		}
	}
	if write, _ := s.add(fmt.Sprint(3*maxRemembered+4), at); write {
		t.Error("the last line was forgotten")
	}
	var _ slog.Handler = (&repeats{Handler: slog.DiscardHandler, seen: s}).WithGroup("g")
}
