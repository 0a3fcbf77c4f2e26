package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// at is so many seconds after the beginning of all tests.
func at(s float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(s * float64(time.Second))).UTC()
}

// happened reads "second type text" of each event.
func happened(t *testing.T, events ...string) []jobs.Event {
	t.Helper()
	var all []jobs.Event
	for _, e := range events {
		var second float64
		var kind, text string
		if n, err := fmt.Sscan(e, &second, &kind, &text); n < 2 {
			t.Fatalf("event %q: %v", e, err)
		}
		all = append(all, jobs.Event{At: at(second), Type: jobs.EventType(kind), Text: text})
	}
	return all
}

// text is what a test compares: each part with its stages.
func text(parts []Part) []string {
	span := func(s Span) string {
		goes := ""
		if s.Goes {
			goes = "..."
		}
		return fmt.Sprintf("%g-%g%s", s.From.Sub(at(0)).Seconds(), s.Until.Sub(at(0)).Seconds(), goes)
	}
	var all []string
	for _, p := range parts {
		words := []string{"attempt", fmt.Sprint(p.Attempt), span(p.Span)}
		if p.Queue {
			words[0] = "queue"
		}
		for _, s := range p.Stages {
			words = append(words, string(s.Name)+":"+span(s.Span))
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}

func TestOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		job    jobs.Job
		events []string
		want   []string
	}{
		{"it waits", jobs.Job{Attempt: 1}, []string{"0 submitted"}, []string{"queue 1 0-100..."}},
		{"it runs", jobs.Job{Attempt: 1}, []string{"0 submitted", "2 claimed one", "3 stage fetch", "4 stage build", "5 container c"}, []string{"queue 1 0-2", "attempt 1 2-100... :2-3 fetch:3-4 build:4-100..."}},
		{"it has ended", jobs.Job{Attempt: 1}, []string{"0 submitted", "2 claimed one", "3 stage run", "9 finished succeeded"}, []string{"queue 1 0-2", "attempt 1 2-9 :2-3 run:3-9"}},
		{"what comes after the end", jobs.Job{Attempt: 1}, []string{"0 submitted", "2 claimed one", "9 finished succeeded", "20 service_ended stopped"}, []string{"queue 1 0-2", "attempt 1 2-9 :2-9"}},
		{"it ended in the queue", jobs.Job{Attempt: 1}, []string{"0 submitted", "7 finished expired"}, []string{"queue 1 0-7"}},
		{"it was tried again", jobs.Job{Attempt: 3}, []string{"0 submitted", "1 claimed one", "2 stage run", "3 retry failed", "5 claimed two", "6 lost two", "8 claimed one", "9 stage run", "10 finished failed"}, []string{
			"queue 1 0-1", "attempt 1 1-3 :1-2 run:2-3", "queue 2 3-5", "attempt 2 5-6 :5-6", "queue 3 6-8", "attempt 3 8-10 :8-9 run:9-10",
		}},
		{"another worker process goes on", jobs.Job{Attempt: 1}, []string{"0 submitted", "1 claimed one", "2 stage run", "3 adopted one", "4 finished succeeded"}, []string{"queue 1 0-1", "attempt 1 1-4 :1-2 run:2-4"}},
		{"the oldest are forgotten", jobs.Job{Attempt: 40}, []string{"2 stage run", "3 lost one", "5 claimed two", "6 finished failed"}, []string{"queue 40 3-5", "attempt 40 5-6 :5-6"}},
		{"a claim is forgotten", jobs.Job{Attempt: 40}, []string{"3 lost one", "6 stage run", "7 finished failed"}, []string{"queue 40 3-7"}},
		{"the record was gone", jobs.Job{Attempt: 1}, []string{"3 lost gone", "5 claimed two", "6 finished failed"}, []string{"queue 1 3-5", "attempt 1 5-6 :5-6"}},
		{"without events", jobs.Job{
			Attempt: 2, Created: at(0), Claimed: at(4),
			Result: &jobs.Result{Times: []jobs.StageTime{{Stage: jobs.StageFetch, Millis: 1000}, {Stage: jobs.StageRun, Millis: 2500}}},
		}, nil, []string{"queue 2 0-4", "attempt 2 4-7.5 fetch:4-5 run:5-7.5"}},
		{"without anything", jobs.Job{}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := text(Of(tt.job, happened(t, tt.events...), at(100))); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	build := Span{From: at(10), Until: at(20)}
	step := func(from, until float64) buildlog.Step {
		s := buildlog.Step{Started: at(from)}
		if until > 0 {
			s.Completed = at(until)
		}
		return s
	}
	for _, tt := range []struct {
		name  string
		steps []buildlog.Step
		build Span
		want  string
	}{
		{"none", nil, build, ""},
		{"clocks agree", []buildlog.Step{step(11, 12), step(12, 19)}, build, "11-12 12-19"},
		{"the host's clock is slow", []buildlog.Step{step(5, 6), step(4, 5)}, build, "11-12 10-11"},
		{"the host's clock is fast", []buildlog.Step{step(19, 25), step(30, 31)}, build, "19-20 20-20"},
		{"one did not end", []buildlog.Step{step(11, 12), step(12, 0)}, build, "11-12 12-20"},
		{"one goes on", []buildlog.Step{step(11, 12), step(12, 0)}, Span{From: at(10), Until: at(15), Goes: true}, "11-12 12-15..."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, s := range Steps(tt.steps, tt.build) {
				got = append(got, strings.TrimPrefix(text([]Part{{Span: s.Span}})[0], "attempt 0 "))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q; want %q", got, tt.want)
			}
		})
	}
}
