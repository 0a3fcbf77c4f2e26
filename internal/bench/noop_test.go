//go:build integration

package bench_test

import (
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	rounds = 6
	// perClient is how many jobs each client has done one after another in one
	// block.
	perClient = 8
)

// block is a number of jobs done in one go.
type block struct {
	n     int
	took  time.Duration // until nothing was left of them
	waits []time.Duration
}

func (b block) rate() float64 { return float64(b.n) / b.took.Seconds() }

// noop compares jobs that do nothing with a bare loop of create, start, wait
// and remove on the same daemon with the same settings.
func (f *farm) noop(r *report) {
	spec := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"true"}}}
	cfg, host := f.settings(spec)
	bare := func() error { return f.bare(cfg, host) }
	farm := func() error {
		_, err := f.done(spec, jobs.Succeeded)
		return err
	}
	for _, clients := range []int{1, 4} {
		f.block(clients, 2, bare)
		f.block(clients, 2, farm)
		ours, theirs := f.alternate(clients, farm, bare)
		r.rate(fmt.Sprintf("no-op jobs, %d at once", clients), "bare loop", 0.90, rates(ours), rates(theirs))
		r.latency(fmt.Sprintf("no-op job, submit to finished record, p50, %d at once", clients), "bare loop",
			1.15, quantile(pool(ours), 0.5), quantile(pool(theirs), 0.5))
	}
	f.printing(r)
	var ours, theirs []block
	for range rounds {
		theirs = append(theirs, f.block(slots, perClient, bare))
		ours = append(ours, f.backlog(spec, slots*perClient))
	}
	r.rate(fmt.Sprintf("no-op jobs from a backlog, %d at once", slots), "bare loop", 0.90, rates(ours), rates(theirs))
}

// printing is noop for jobs with a line of output, which goes to the live log
// and to the artifact store.
func (f *farm) printing(r *report) {
	spec := jobs.Spec{Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"echo", "hello"}}}
	cfg, host := f.settings(spec)
	ours, theirs := f.alternate(1, func() error {
		_, err := f.done(spec, jobs.Succeeded)
		return err
	}, func() error { return f.bare(cfg, host) })
	r.latency("job with a line of output, submit to finished record, p50", "bare loop",
		1.15, quantile(pool(ours), 0.5), quantile(pool(theirs), 0.5))
}

// alternate measures both in turn, so that what slows the machine slows both.
func (f *farm) alternate(clients int, farm, bare func() error) (ours, theirs []block) {
	for range rounds {
		theirs = append(theirs, f.block(clients, perClient, bare))
		ours = append(ours, f.block(clients, perClient, farm))
	}
	return ours, theirs
}

// block lets clients call once n times each.
func (f *farm) block(clients, n int, once func() error) block {
	waits := make([][]time.Duration, clients)
	start := time.Now()
	var g errgroup.Group
	for c := range clients {
		g.Go(func() error {
			for range n {
				t := time.Now()
				if err := once(); err != nil {
					return err
				}
				waits[c] = append(waits[c], time.Since(t))
			}
			return nil
		})
	}
	f.must(g.Wait())
	f.quiet()
	b := block{n: clients * n, took: time.Since(start)}
	for _, w := range waits {
		b.waits = append(b.waits, w...)
	}
	return b
}

// backlog submits n jobs at once and waits for the last.
func (f *farm) backlog(spec jobs.Spec, n int) block {
	specs := make([]jobs.Spec, n)
	for i := range specs {
		specs[i] = spec
	}
	start := time.Now()
	subs, err := f.svc.SubmitBatch(f.ctx, specs)
	f.must(err)
	for _, sub := range subs {
		_, err := f.svc.Wait(f.ctx, sub.ID)
		f.must(err)
	}
	f.quiet()
	return block{n: n, took: time.Since(start)}
}

// settings are those of the containers that the worker makes, taken from one
// that it keeps for a while.
func (f *farm) settings(spec jobs.Spec) (*container.Config, *container.HostConfig) {
	run := *spec.Run
	run.Command, run.Keep, run.StopGrace = []string{"sleep", "60"}, jobs.Duration(time.Minute), jobs.Duration(time.Second)
	job := f.submit(jobs.Spec{Run: &run}, jobs.Succeeded)
	have, err := f.docker.ContainerInspect(f.ctx, job.Result.ContainerID)
	f.must(err)
	_, err = f.svc.Cancel(f.ctx, job.ID, "bench")
	f.must(err)
	f.quiet()
	cfg := have.Config
	cfg.Hostname, cfg.Cmd, cfg.StopTimeout = "", spec.Run.Command, nil
	return cfg, have.HostConfig
}

// bare runs one container without the farm.
func (f *farm) bare(cfg *container.Config, host *container.HostConfig) error {
	made, err := f.docker.ContainerCreate(f.ctx, cfg, host, nil, nil, "")
	if err != nil {
		return err
	}
	exit, lost := f.docker.ContainerWait(f.ctx, made.ID, container.WaitConditionNextExit)
	if err := f.docker.ContainerStart(f.ctx, made.ID, container.StartOptions{}); err != nil {
		return err
	}
	select {
	case <-exit:
	case err := <-lost:
		return err
	}
	return f.docker.ContainerRemove(f.ctx, made.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
}
