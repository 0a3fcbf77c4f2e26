package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Metrics counts what a worker does. It implements worker.Observer. Base units,
// no label with unbounded values.
type Metrics struct {
	registry *prometheus.Registry
	jobs     *prometheus.CounterVec
	duration *prometheus.HistogramVec
	waited   *prometheus.HistogramVec
	slots    *prometheus.GaugeVec
	dropped  prometheus.Counter
	docker   prometheus.Gauge
}

// NewMetrics makes the worker's metrics.
func NewMetrics() *Metrics {
	buckets := prometheus.ExponentialBuckets(0.01, 2.5, 14) // 10 ms to about 40 min
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_jobs_total", Help: "Jobs that ended on this worker.",
		}, []string{"queue", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_job_duration_seconds", Help: "Time spent in each phase of a job.", Buckets: buckets,
		}, []string{"queue", "phase"}),
		waited: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_job_queue_seconds", Help: "Time from submission to the first claim.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 12),
		}, []string{"queue"}),
		slots: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "slipway_worker_slots", Help: "Slots of this worker by state.",
		}, []string{"state"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_log_dropped_bytes_total", Help: "Bytes of job output over the log limit.",
		}),
		docker: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slipway_docker_up", Help: "1 when the Docker daemon answered the last readiness check.",
		}),
	}
	m.registry.MustRegister(m.jobs, m.duration, m.waited, m.slots, m.dropped, m.docker,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Claimed implements worker.Observer.
func (m *Metrics) Claimed(queue string, waited time.Duration) {
	m.waited.WithLabelValues(queue).Observe(waited.Seconds())
}

// Ended implements worker.Observer.
func (m *Metrics) Ended(queue string, r jobs.Result) {
	m.jobs.WithLabelValues(queue, string(r.State)).Inc()
	for _, t := range r.Times {
		m.duration.WithLabelValues(queue, string(t.Stage)).Observe(float64(t.Millis) / 1000)
	}
	m.dropped.Add(float64(r.Log.Dropped))
}

// Slots implements worker.Observer.
func (m *Metrics) Slots(busy, total int) {
	m.slots.WithLabelValues("busy").Set(float64(busy))
	m.slots.WithLabelValues("idle").Set(float64(total - busy))
}

// DockerUp records whether the daemon answered.
func (m *Metrics) DockerUp(up bool) {
	m.docker.Set(map[bool]float64{true: 1}[up])
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
