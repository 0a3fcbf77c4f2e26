package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// passing is a gauge that is absent when it was not set for a while: what one worker of a
// farm found out must not stand for ever beside what another one found since.
type passing struct {
	desc *prometheus.Desc

	mu    sync.Mutex
	value float64
	until time.Time
}

func (p *passing) set(v float64, keep time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.value, p.until = v, time.Now().Add(keep)
}

// Describe implements prometheus.Collector.
func (p *passing) Describe(out chan<- *prometheus.Desc) { out <- p.desc }

// Collect implements prometheus.Collector.
func (p *passing) Collect(out chan<- prometheus.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.until) {
		out <- prometheus.MustNewConstMetric(p.desc, prometheus.GaugeValue, p.value)
	}
}
