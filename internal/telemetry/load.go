package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// maxParts is how many parts of queues have series of their own: users choose what their
// jobs need, which would be so many series.
const maxParts = 50

// otherRoute stands for the routes of all other parts.
const otherRoute = "other"

// load is what waits in the farm and what its hosts have for it, while that was read lately.
// One worker of the farm reads it; the others have no such series.
type load struct {
	waiting, oldest, blocked, hosts, slots *prometheus.Desc

	mu    sync.Mutex
	value jobs.Load
	until time.Time
}

func newLoad() *load {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help+" The worker that reconciles has it, and no other.", labels, nil)
	}
	return &load{
		waiting: desc("slipway_queue_waiting", "Jobs that wait, by what they need of a host.", "queue", "priority", "route"),
		oldest:  desc("slipway_queue_oldest_seconds", "Age of the job that waits longest, by what it needs of a host.", "queue", "priority", "route"),
		blocked: desc("slipway_waiting_jobs", "Jobs that wait, by what keeps them.", "queue", "blocker"),
		hosts:   desc("slipway_hosts", "Hosts of the farm by state.", "state"),
		slots:   desc("slipway_slots", "Slots of the farm by state.", "state"),
	}
}

func (l *load) set(v jobs.Load, keep time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value, l.until = v, time.Now().Add(keep)
}

// Describe implements prometheus.Collector.
func (l *load) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.waiting, l.oldest, l.blocked, l.hosts, l.slots} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (l *load) Collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	v, known := l.value, time.Now().Before(l.until)
	l.mu.Unlock()
	if !known {
		return
	}
	put := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	parts, blocked := seriesOf(v)
	for p, s := range parts {
		put(l.waiting, float64(s.waiting), p.queue, p.priority, p.route)
		put(l.oldest, s.oldest, p.queue, p.priority, p.route)
	}
	for b, n := range blocked {
		put(l.blocked, float64(n), b.queue, b.blocker)
	}
	for _, state := range jobs.HostStates() {
		put(l.hosts, float64(v.Hosts[state]), string(state))
	}
	put(l.slots, float64(v.Slots.Busy), "busy")
	put(l.slots, float64(v.Slots.Idle), "idle")
	put(l.slots, float64(v.Slots.Unusable), "unusable")
}

type (
	partLabels    struct{ queue, priority, route string }
	blockedLabels struct{ queue, blocker string }
	partValue     struct {
		waiting int
		oldest  float64
	}
)

// seriesOf are the series of what waits. Those parts where most wait have their own; the
// rest is summed. A queue that hosts serve always has some, so that an empty one is not
// taken for one that is not looked at.
func seriesOf(v jobs.Load) (map[partLabels]partValue, map[blockedLabels]int) {
	parts, blocked := map[partLabels]partValue{}, map[blockedLabels]int{}
	named := map[string]bool{}
	for _, queue := range v.Served[:min(len(v.Served), maxParts)] {
		named[queue] = true
		for _, p := range jobs.Priorities() {
			parts[partLabels{queue, string(p), ""}] = partValue{}
		}
		for _, b := range []jobs.Blocker{jobs.BlockedBySlots, jobs.BlockedByNoWorker} {
			blocked[blockedLabels{queue, string(b)}] = 0
		}
	}
	most := slices.Clone(v.Queues)
	slices.SortStableFunc(most, func(a, b jobs.QueueLoad) int { return cmp.Compare(b.Waiting, a.Waiting) })
	for i, q := range most {
		if i < maxParts {
			named[q.Queue] = true
		}
		queue := q.Queue
		if !named[queue] {
			queue = otherQueue
		}
		at := partLabels{queue, string(q.Priority), q.Route.String()}
		if i >= maxParts {
			at.route = otherRoute
		}
		s := parts[at]
		s.waiting += q.Waiting
		if q.OldestSeconds != nil {
			s.oldest = max(s.oldest, *q.OldestSeconds)
		}
		parts[at] = s
		blocked[blockedLabels{queue, cmp.Or(string(q.Blocker), otherRoute)}] += q.Waiting
	}
	return parts, blocked
}
