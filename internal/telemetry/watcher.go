package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Check is one condition of readiness; it returns why it does not hold.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
	// Metric is the name of a gauge that is 1 while it holds, "" for none, and Help
	// what the gauge says.
	Metric, Help string
}

// Disk is what is left of a directory's disk. Least is what has to be free for jobs
// to be taken.
type Disk struct {
	Directory         string
	Free, Size, Least uint64
	Inodes            uint64
	// CountsInodes is false for file systems such as btrfs.
	CountsInodes bool
}

// askTime bounds one check, so that one which hangs is not taken for all of them.
const askTime = 3 * time.Second

// ask runs all checks at once and returns their findings in the same order.
func ask(ctx context.Context, checks []Check) []error {
	found := make([]error, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			if found[i] = c.Run(ctx); errors.Is(found[i], context.DeadlineExceeded) {
				found[i] = fmt.Errorf("no answer within %s: %w", askTime, found[i])
			}
		})
	}
	all.Wait()
	return found
}

// reasons says in one line which checks do not hold and why, "" when all do.
func reasons(checks []Check, found []error) string {
	var all []string
	for i, err := range found {
		if err != nil {
			all = append(all, checks[i].Name+": "+err.Error())
		}
	}
	return strings.Join(all, "; ")
}

// watcher is a collector of what is true at the moment of a scrape. A gauge that is
// set when something happens stays as it was when nothing happens any more.
type watcher struct {
	checks []Check
	disks  func(ctx context.Context) []Disk
}

func readyDesc() *prometheus.Desc {
	return prometheus.NewDesc("slipway_worker_ready", "1 when all conditions of /readyz hold: this worker takes jobs.", nil, nil)
}

func (c Check) desc() *prometheus.Desc { return prometheus.NewDesc(c.Metric, c.Help, nil, nil) }

// diskGauges are the gauges of a disk.
func diskGauges() []struct {
	desc  *prometheus.Desc
	value func(Disk) (v uint64, ok bool)
} {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"directory"}, nil)
	}
	return []struct {
		desc  *prometheus.Desc
		value func(Disk) (v uint64, ok bool)
	}{
		{
			desc("slipway_disk_free_bytes", "What is free of the disk of a directory of this host; absent while the disk does not answer."),
			func(d Disk) (uint64, bool) { return d.Free, true },
		},
		{desc("slipway_disk_size_bytes", "The size of the disk."), func(d Disk) (uint64, bool) { return d.Size, true }},
		{desc("slipway_disk_least_bytes", "What has to be free for jobs to be taken."), func(d Disk) (uint64, bool) { return d.Least, true }},
		{
			desc("slipway_disk_free_inodes", "How many more files there may be; absent where the file system does not count them."),
			func(d Disk) (uint64, bool) { return d.Inodes, d.CountsInodes },
		},
	}
}

// Describe implements prometheus.Collector.
func (w watcher) Describe(out chan<- *prometheus.Desc) {
	out <- readyDesc()
	for _, c := range w.checks {
		if c.Metric != "" {
			out <- c.desc()
		}
	}
	for _, g := range diskGauges() {
		out <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (w watcher) Collect(out chan<- prometheus.Metric) {
	// The interface hands no context down; every question is bounded.
	ctx, cancel := context.WithTimeout(context.Background(), 2*askTime)
	defer cancel()
	var disks []Disk
	var looking sync.WaitGroup
	looking.Go(func() { disks = w.disks(ctx) })
	found := ask(ctx, w.checks)
	looking.Wait()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(readyDesc(), holds(errors.Join(found...)))
	for i, c := range w.checks {
		if c.Metric != "" {
			gauge(c.desc(), holds(found[i]))
		}
	}
	for _, d := range disks {
		for _, g := range diskGauges() {
			if v, ok := g.value(d); ok {
				gauge(g.desc, float64(v), d.Directory)
			}
		}
	}
}

func holds(err error) float64 {
	if err != nil {
		return 0
	}
	return 1
}
