package telemetry

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Fact is a gauge that is asked for at each scrape, and that keeps no jobs from being taken.
type Fact struct {
	Metric, Help string
	// Value returns what the gauge is. With an error the gauge is absent: that it is not
	// known has a metric of its own.
	Value func(ctx context.Context) (float64, error)
}

// facts is the collector of facts.
type facts []Fact

func (f Fact) desc() *prometheus.Desc { return prometheus.NewDesc(f.Metric, f.Help, nil, nil) }

// Describe implements prometheus.Collector.
func (all facts) Describe(out chan<- *prometheus.Desc) {
	for _, f := range all {
		out <- f.desc()
	}
}

// Collect implements prometheus.Collector.
func (all facts) Collect(out chan<- prometheus.Metric) {
	// The interface hands no context down; every question is bounded.
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	for _, f := range all {
		asking.Go(func() {
			if v, err := f.Value(ctx); err == nil {
				out <- prometheus.MustNewConstMetric(f.desc(), prometheus.GaugeValue, v)
			}
		})
	}
}

// Tell asks for the facts anew for each scrape. It is called once.
func (m *Metrics) Tell(all []Fact) { m.registry.MustRegister(facts(all)) }
