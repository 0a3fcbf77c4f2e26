package telemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/telemetry"
)

// scrapeLoad returns the series of the load.
func scrapeLoad(t *testing.T, m *telemetry.Metrics) (series []string) {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		for _, name := range []string{"slipway_queue_", "slipway_waiting_jobs", "slipway_hosts", "slipway_slots"} {
			if strings.HasPrefix(line, name) {
				series = append(series, strings.TrimSpace(line))
			}
		}
	}
	return series
}

// waiting is what waits with a route, for so many seconds.
func waiting(queue string, n int, r jobs.Needs, b jobs.Blocker, seconds float64) jobs.QueueLoad {
	return jobs.QueueLoad{
		Depth:         jobs.Depth{Queue: queue, Priority: jobs.PriorityNormal, Route: r.Route(), Waiting: n},
		OldestSeconds: &seconds, Blocker: b,
	}
}

// What the worker that leads has read stands for a while, and then no worker says it.
func TestLoadSeries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := telemetry.NewMetrics("v1", nil)
		if got := scrapeLoad(t, m); got != nil {
			t.Errorf("before the first look there is %q", got)
		}
		gpu := jobs.Needs{Platform: "linux/arm64", Labels: map[string]string{"gpu": "yes"}}
		m.Load(jobs.Load{
			Queues: []jobs.QueueLoad{
				waiting("builds", 3, jobs.Needs{}, jobs.BlockedBySlots, 90), waiting("builds", 2, gpu, jobs.BlockedByLabels, 30),
				waiting("lost", 1, jobs.Needs{}, jobs.BlockedByQueue, 5),
			},
			Hosts: map[jobs.HostState]int{jobs.HostReady: 2, jobs.HostSilent: 1}, Slots: jobs.Slots{Busy: 7, Idle: 1, Unusable: 4}, Served: []string{"builds"},
		}, time.Minute)
		text := strings.Join(scrapeLoad(t, m), "\n") + "\n"
		for _, want := range []string{
			`slipway_queue_waiting{priority="normal",queue="builds",route=""} 3`,
			`slipway_queue_waiting{priority="low",queue="builds",route=""} 0`,
			`slipway_queue_waiting{priority="normal",queue="builds",route="linux/arm64 gpu=yes"} 2`,
			`slipway_queue_waiting{priority="normal",queue="lost",route=""} 1`,
			`slipway_queue_oldest_seconds{priority="normal",queue="builds",route=""} 90`,
			`slipway_waiting_jobs{blocker="slots",queue="builds"} 3`, `slipway_waiting_jobs{blocker="labels",queue="builds"} 2`,
			`slipway_waiting_jobs{blocker="no_worker",queue="builds"} 0`, `slipway_waiting_jobs{blocker="queue",queue="lost"} 1`,
			`slipway_hosts{state="ready"} 2`, `slipway_hosts{state="silent"} 1`, `slipway_hosts{state="drained"} 0`,
			`slipway_slots{state="busy"} 7`, `slipway_slots{state="idle"} 1`, `slipway_slots{state="unusable"} 4`,
		} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("metrics lack %s", want)
			}
		}
		time.Sleep(time.Minute)
		if got := scrapeLoad(t, m); got != nil {
			t.Errorf("a minute later there is %q; want nothing", got)
		}
		m.Load(jobs.Load{}, time.Minute)
		m.Load(jobs.Load{}, 0)
		if got := scrapeLoad(t, m); got != nil {
			t.Errorf("of a worker that leads no more there is %q; want nothing", got)
		}
	})
}

// Users choose what jobs need, and queues: they do not choose how many series there are.
func TestLoadSeriesAreBounded(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("v1", nil)
	l := jobs.Load{Served: []string{"builds"}}
	for i := range 200 {
		route := jobs.Needs{Labels: map[string]string{jobs.HostLabel: fmt.Sprint("h-", i)}}
		l.Queues = append(l.Queues, waiting("builds", 1000-i, route, jobs.BlockedByLabels, 1), waiting(fmt.Sprint("q-", i), 1, route, jobs.BlockedByQueue, 7))
	}
	m.Load(l, time.Hour)
	count, text := 0, ""
	for _, s := range scrapeLoad(t, m) {
		if strings.HasPrefix(s, "slipway_queue_waiting{") {
			count++
			text += s + "\n"
		}
	}
	if want := 50 + 3 + 2; count != want { // the empty ones of the queue, and the two sums
		t.Errorf("%d series; want %d", count, want)
	}
	for _, want := range []string{
		`slipway_queue_waiting{priority="normal",queue="other",route="other"} 200`,
		`slipway_queue_waiting{priority="normal",queue="builds",route="host=h-0"} 1000`,
		fmt.Sprintf(`slipway_queue_waiting{priority="normal",queue="builds",route="other"} %d`, 150*(950+801)/2),
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}
