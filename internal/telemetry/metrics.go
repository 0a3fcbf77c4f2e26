package telemetry

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Metrics counts what a worker does, and asks for what is true at this moment when
// it is scraped. It implements worker.Observer, reconcile.Observer,
// reconcile.Watched and webhooks.Observer. Base units, no label with unbounded values.
type Metrics struct {
	registry *prometheus.Registry
	// queues are those that the worker serves: users who submit jobs choose the
	// names of all others, which would be so many series.
	queues   []string
	jobs     *prometheus.CounterVec
	givenUp  *prometheus.CounterVec
	lost     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	waited   *prometheus.HistogramVec
	slots    *prometheus.GaugeVec
	calls    *prometheus.CounterVec
	dropped  prometheus.Counter
	stale    *passing
	load     *load
}

// otherQueue stands for queues that the worker does not serve.
const otherQueue = "other"

// drained is the kind of attempts that were handed back because the worker ends.
const drained = "drain"

// NewMetrics makes the metrics of a worker of this version that serves the queues.
func NewMetrics(version string, queues []string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), queues: queues,
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_jobs_total",
			Help: "Jobs of the farm that ended, wherever, with the kind of their failure and whose it is (user, infra). The worker that reconciles counts them: sum over all workers.",
		}, []string{"queue", "outcome", "kind", "fault"}),
		givenUp: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_attempts_given_up_total",
			Help: "Attempts of this worker that did not end their job, with the reason: a kind of failure, or drain.",
		}, []string{"queue", "kind", "fault"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_attempts_lost_total",
			Help: "Attempts that were taken from a host whose lease had passed. The worker that reconciles counts them.",
		}, []string{"host", "worker"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_job_duration_seconds", Help: "Time spent in each phase of a job.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2.5, 18), // 10 ms to about 16 h
		}, []string{"queue", "phase"}),
		waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_job_queue_seconds", Help: "Time from submission to the first claim.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12),
		}, []string{"queue"}),
		slots: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "slipway_worker_slots", Help: "Slots of this worker by state.",
		}, []string{"state"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_webhook_calls_total",
			Help: "Tries of this worker to tell webhooks of jobs that ended, with the result: delivered, retry, given_up, or dropped for webhooks that are gone.",
		}, []string{"result"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_log_dropped_bytes_total", Help: "Bytes of job output over the log limit.",
		}),
	}
	m.stale = &passing{desc: prometheus.NewDesc("slipway_stale_images",
		"Images of the farm that stand on an older base than this worker has found at the last look; absent when others look.", nil, nil)}
	m.load = newLoad()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "slipway_build_info", Help: "1, with the version of the worker.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.jobs, m.givenUp, m.lost, m.duration, m.waited, m.slots, m.calls, m.dropped, m.stale, m.load, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch asks the checks and the disks anew for each scrape. It is called once.
func (m *Metrics) Watch(checks []Check, disks func(ctx context.Context) []Disk) {
	m.registry.MustRegister(watcher{checks, disks})
}

// Claimed implements worker.Observer.
func (m *Metrics) Claimed(queue string, waited time.Duration) {
	m.waited.WithLabelValues(m.queue(queue)).Observe(waited.Seconds())
}

// Ended implements reconcile.Observer.
func (m *Metrics) Ended(e jobs.EndedJob) {
	queue, kind, fault := "", "", ""
	if e.Job != nil {
		queue = e.Job.Spec.Queue
		if r := e.Job.Result; r != nil && r.Failure != nil {
			kind, fault = string(r.Failure.Kind), string(r.Failure.Kind.Info().Fault)
		}
	}
	m.jobs.WithLabelValues(m.queue(queue), string(e.State), kind, fault).Inc()
}

// Concluded implements worker.Observer.
func (m *Metrics) Concluded(queue string, r jobs.Result) {
	for _, t := range r.Times {
		m.duration.WithLabelValues(m.queue(queue), string(t.Stage)).Observe(float64(t.Millis) / 1000)
	}
	m.dropped.Add(float64(r.Log.Dropped))
}

// GivenUp implements worker.Observer.
func (m *Metrics) GivenUp(queue string, f *jobs.Failure) {
	kind, fault := drained, string(jobs.InfraFault)
	if f != nil {
		kind, fault = string(f.Kind), string(f.Kind.Info().Fault)
	}
	m.givenUp.WithLabelValues(m.queue(queue), kind, fault).Inc()
}

// Lost implements reconcile.Observer.
func (m *Metrics) Lost(host, worker string) { m.lost.WithLabelValues(host, worker).Inc() }

// Called implements webhooks.Observer.
func (m *Metrics) Called(s jobs.CallState) {
	result := string(s)
	if s == jobs.CallDue {
		result = "retry"
	}
	m.calls.WithLabelValues(result).Inc()
}

// Slots implements worker.Observer.
func (m *Metrics) Slots(busy, total int) {
	m.slots.WithLabelValues("busy").Set(float64(busy))
	m.slots.WithLabelValues("idle").Set(float64(total - busy))
}

// Stale tells how many images stand on an older base, as far as is known for a while.
func (m *Metrics) Stale(images int, keep time.Duration) { m.stale.set(float64(images), keep) }

// Load implements reconcile.Watched.
func (m *Metrics) Load(l jobs.Load, keep time.Duration) { m.load.set(l, keep) }

func (m *Metrics) queue(name string) string {
	if slices.Contains(m.queues, name) {
		return name
	}
	return otherQueue
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
