//go:build integration

package bench_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
)

// waiters is how many jobs wait that no host can take.
const waiters = 10_000

// waitingTime covers what is done once a minute.
const waitingTime = time.Minute

// waiting measures what jobs cost that no host can take: commands on Redis, beside those
// of idle workers, and what they do to jobs that a host takes.
func (f *farm) waiting(r *report) {
	for _, workers := range []int{1, 20} {
		f.waitingCommands(r, workers)
	}
	nowhere := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag}, Requires: &jobs.Requires{Labels: map[string]string{"gpu": "yes"}}}
	plain := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"true"}}}
	labelled := plain
	labelled.Requires = &jobs.Requires{Labels: map[string]string{"arch": runtime.GOARCH}}
	// Both are held against a bare loop beside them: the daemon gets slower in the meantime.
	cfg, host := f.settings(plain)
	bare := func() error { return f.bare(cfg, host) }
	farm := func() error { _, err := f.done(plain, jobs.Succeeded); return err }
	f.block(slots, 2, bare)
	f.block(slots, 2, farm)
	without, bareWithout := f.alternate(slots, farm, bare)
	plainClaim := f.claims(plain)
	f.fill(f.svc, nowhere)
	with, bareWith := f.alternate(slots, farm, bare)
	beside := fmt.Sprintf(" beside %d that no host takes", waiters)
	r.rate("no-op jobs"+beside+", in bare loops", "without", 0.95, relative(with, bareWith), relative(without, bareWithout))
	took := func(jobs, loops []block) time.Duration {
		ratio := float64(quantile(pool(jobs), 0.5)) / float64(quantile(pool(loops), 0.5))
		return time.Duration(ratio * float64(quantile(pool(bareWithout), 0.5)))
	}
	r.latency("no-op job, p50,"+beside, "without", 1.05, took(with, bareWith), took(without, bareWithout))
	r.limit("submit to claim, p50, of a job with a label,"+beside, "without label, and without", 5*time.Millisecond,
		quantile(f.claims(labelled), 0.5), quantile(plainClaim, 0.5))
}

// relative are rates in those of the blocks beside them.
func relative(ours, theirs []block) (ratios []float64) {
	for i := range ours {
		ratios = append(ratios, ours[i].rate()/theirs[i].rate())
	}
	return ratios
}

// claims measures how long an idle worker takes to own a job.
func (f *farm) claims(spec jobs.Spec) (waits []time.Duration) {
	for range claims / 2 {
		<-time.After(20*time.Millisecond + rand.N(40*time.Millisecond))
		start := time.Now()
		waits = append(waits, f.submit(spec, jobs.Succeeded).Started.Sub(start)) // Redis has this machine's clock
	}
	return waits
}

// fill submits jobs that no host takes.
func (f *farm) fill(svc *jobs.Service, spec jobs.Spec) {
	specs := make([]jobs.Spec, waiters)
	for i := range specs {
		specs[i] = spec
	}
	_, err := svc.SubmitBatch(f.ctx, specs)
	f.must(err)
}

// waitingCommands counts the commands of idle workers without and with the jobs. A worker
// is here what asks Redis for work, and what looks after it: its intake and its
// reconciler.
func (f *farm) waitingCommands(r *report, workers int) {
	server := hosttest.StartRedis(f)
	rdb := f.open(server)
	stop := f.idlers(server, workers)
	defer stop()
	rate := func() float64 {
		<-time.After(5 * time.Second)
		before := f.commands(rdb)
		<-time.After(waitingTime)
		return total(since(before, f.commands(rdb)))
	}
	idle := rate()
	f.fill(service(rdb), jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag}, Requires: &jobs.Requires{Labels: map[string]string{"gpu": "yes"}}})
	with := rate()
	r.row(fmt.Sprintf("commands for %d jobs that no host takes, %d workers", waiters, workers), "<= +20/s",
		fmt.Sprintf("%+.1f/s", with-idle), fmt.Sprintf("idle %.1f/s", idle), 0, (with-idle)/20-1)
}

// unlabelled is what fits a host without labels.
func unlabelled(n jobs.Needs) jobs.Fit {
	if len(n.Labels) > 0 {
		return jobs.FitsNever
	}
	return jobs.FitsNow
}

// unwatched has the load read, as a worker with /metrics does.
type unwatched struct{}

func (unwatched) Load(jobs.Load, time.Duration) {}

// idlers runs what workers do on Redis while they have nothing to do.
func (f *farm) idlers(server *hosttest.Redis, n int) (stop func()) {
	ctx, cancel := context.WithCancel(f.ctx)
	var running sync.WaitGroup
	var intakes []*queue.Intake
	for range n {
		rdb := f.open(server)
		db := records.New(rdb, records.Options{})
		in := queue.NewIntake(f.open(server), queue.IntakeOptions{Queues: []string{jobs.DefaultQueue}, Slots: slots})
		f.must(in.Start(func(context.Context, jobs.Delivery) error { return nil }, unlabelled))
		intakes = append(intakes, in)
		running.Go(func() {
			reconcile.New(nil, db, queue.New(rdb, jobs.DefaultQueue), uuid.NewString(), reconcile.Options{Watched: unwatched{}}).Run(ctx)
		})
	}
	return func() {
		cancel()
		running.Wait()
		for _, in := range intakes {
			_ = in.Close() // it closes its client, too, which f.open does once more
		}
	}
}

// Fairness: tenants, what each has to do, and what one of them pushes at once.
const (
	tenants   = 20
	theirJobs = 50
	flood     = 10_000
	jobTime   = 20 * time.Millisecond
)

// fairness measures how long the jobs of tenants wait while one of them has pushed far
// more than all others, against the same without. What hands out tickets is real, what
// runs is a pause.
func (f *farm) fairness(r *report) {
	var ours, theirs []time.Duration
	for range 3 {
		theirs = append(theirs, f.tenantWaits(0)...)
		ours = append(ours, f.tenantWaits(flood)...)
	}
	r.latency(fmt.Sprintf("wait of %d tenants, p50, beside one with %d jobs", tenants-1, flood), "without", 2, quantile(ours, 0.5), quantile(theirs, 0.5))
}

// tenantWaits is how long the jobs of all tenants but the first wait, which pushes so many
// before them.
func (f *farm) tenantWaits(first int) (waits []time.Duration) {
	server := hosttest.StartRedis(f)
	q := queue.New(f.open(server))
	push := func(tenant, n int) {
		tickets := make([]jobs.Ticket, n)
		for i := range tickets {
			tickets[i] = jobs.Ticket{ID: fmt.Sprintf("t%d-%d", tenant, i), Attempt: 1, Seq: 1, Queue: jobs.DefaultQueue, Turn: fmt.Sprint("tenant-", tenant)}
		}
		f.must(q.Push(f.ctx, tickets...))
	}
	push(0, first)
	began := time.Now()
	for tenant := 1; tenant < tenants; tenant++ {
		push(tenant, theirJobs)
	}
	all := make(chan time.Duration, tenants*theirJobs)
	in := queue.NewIntake(f.open(server), queue.IntakeOptions{Queues: []string{jobs.DefaultQueue}, Slots: slots})
	f.must(in.Start(func(_ context.Context, d jobs.Delivery) error {
		if d.Ticket.Turn != "tenant-0" {
			all <- time.Since(began)
		}
		<-time.After(jobTime)
		return nil
	}, func(jobs.Needs) jobs.Fit { return jobs.FitsNow }))
	for range (tenants - 1) * theirJobs {
		waits = append(waits, <-all)
	}
	in.StopTaking()
	<-time.After(2 * jobTime)
	_ = in.Close() // its client is closed once more at the end
	return waits
}
