//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
	"github.com/slipway-farm/slipway/internal/queue"
)

// ordered takes a host out of the farm for a while, and checks that it claims nothing then.
func (m *monkey) ordered(o jobs.HostOrder) func(string) bool {
	return func(kind string) bool {
		hosts, _, err := m.records.Hosts(context.Background())
		m.check(kind, err)
		if len(hosts) == 0 {
			return false
		}
		h := hosts[m.r.IntN(len(hosts))]
		d := m.between(obeyed+time.Second, obeyed+4*time.Second)
		defer m.Deal(oracle.Blow{Kind: kind})()
		o.By, o.Worker = "the monkey", h.Worker
		given, err := m.records.Order(context.Background(), h.Name, o)
		m.check(kind, err)
		time.Sleep(d)
		m.claimedNothing(given.Since, h.Name, fmt.Sprintf("worker %s was ordered to %s", h.Worker, o.Kind))
		_, err = m.records.Resume(context.Background(), h.Name)
		m.check(kind, err)
		return true
	}
}

// obeyed is how soon an order has to be obeyed.
const obeyed = 2 * time.Second

// claimedNothing checks that a host, or any when host is "", has claimed nothing since what
// was said then had to be obeyed.
func (m *monkey) claimedNothing(said time.Time, host, what string) {
	running, _, err := m.records.Scan(context.Background(), jobs.Running, 0, 1000)
	m.check("list running jobs", err)
	for _, job := range running {
		if late := job.Claimed.Sub(said); (host == "" || job.Host == host) && late > obeyed {
			m.Violation("worker %s claimed job %s %s after %s", job.Worker, job.ID, late, what)
		}
	}
}

// queuePaused pauses all of the farm's queue for a while, and checks that no job is claimed.
func (m *monkey) queuePaused(kind string) bool {
	defer m.Deal(oracle.Blow{Kind: kind})()
	ctx, q := context.Background(), queue.New(m.rdb)
	for _, p := range jobs.Priorities() {
		m.check(kind, q.SetPause(ctx, jobs.Pause{Queue: jobs.DefaultQueue, Priority: p, By: "the monkey"}))
	}
	began, err := m.records.Now(ctx)
	m.check(kind, err)
	time.Sleep(m.between(obeyed+time.Second, obeyed+4*time.Second))
	m.claimedNothing(began, "", "the queue was paused")
	m.check(kind, m.resumeAll(ctx))
	return true
}

// resumeAll ends what is paused and who is out of the farm, also what a Redis that went
// back has again.
func (m *monkey) resumeAll(ctx context.Context) error {
	var errs []error
	orders, err := m.records.AllOrders(ctx)
	errs = append(errs, err)
	for host := range orders {
		_, err := m.records.Resume(ctx, host)
		errs = append(errs, err)
	}
	for _, p := range jobs.Priorities() {
		_, err := queue.New(m.rdb).EndPause(ctx, jobs.DefaultQueue, p)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("resume hosts and queues: %w", err)
	}
	return nil
}
