//go:build integration && chaos

package chaos_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

var (
	seeds      = seedsFlag("chaos.seed", "seeds to run, repeatable or with commas; 1 to 3 when none is given")
	jobsPer    = flag.Int("chaos.jobs", 75, "how many jobs a seed submits")
	faultsPer  = flag.Int("chaos.faults", 25, "how many faults a seed brings")
	freshSeeds = flag.Int("chaos.fresh", 0, "draw so many seeds instead")
)

// seedList is a flag.
type seedList []uint64

func seedsFlag(name, usage string) *seedList {
	var l seedList
	flag.Var(&l, name, usage)
	return &l
}

func (l *seedList) String() string { return fmt.Sprint([]uint64(*l)) }

func (l *seedList) Set(text string) error {
	for _, s := range strings.Split(text, ",") {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return err
		}
		*l = append(*l, n)
	}
	return nil
}

// chaosLease leaves room for outages that must not cost an attempt; a longer
// one than outage may: the worker ends its containers before the lease passes.
const (
	chaosLease = 12 * time.Second
	outage     = 1500 * time.Millisecond
)

// TestChaos gives farms of two hosts and three workers a mix of jobs, images whose base
// has changed, and a monkey. With -short there are two seeds.
func TestChaos(t *testing.T) {
	all := *seeds
	if len(all) == 0 && *freshSeeds == 0 {
		all = []uint64{1, 2, 3}
		if testing.Short() {
			all = all[1:]
		}
	}
	for range *freshSeeds {
		all = append(all, rand.Uint64N(1e9))
	}
	three := make(chan struct{}, 3) // this many farms at work at once
	oracles := make([]*oracle.Oracle, len(all))
	t.Run("farms", func(t *testing.T) {
		for i, seed := range all {
			oracles[i] = oracle.New()
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				three <- struct{}{}
				rests := sync.OnceFunc(func() { <-three })
				defer rests()
				campaign(t, seed, *jobsPer, *faultsPer, oracles[i], rests)
			})
		}
	})
	// Once more, at the end of a long output.
	for i, seed := range all {
		for _, v := range oracles[i].Violations() {
			t.Errorf("seed %d: %s", seed, v)
		}
	}
}

// campaign runs one farm from its first job to its last, and keeps its accounts in l.
// rests is called when it is only waited for.
func campaign(t *testing.T, seed uint64, jobCount, faultCount int, l *oracle.Oracle, rests func()) {
	began := time.Now()
	t.Logf("again: go test -tags integration,chaos ./internal/chaos -run TestChaos -v -chaos.seed %d -chaos.jobs %d -chaos.faults %d", seed, jobCount, faultCount)
	r := rand.New(rand.NewPCG(seed, 1))
	p := startPair(t)
	f := farmOn(t, fmt.Sprint("seed-", seed), "redis://"+p.way.Listen+"/0", "redis://"+p.straight.Listen+"/0")
	w := &witness{}
	m := &monkey{
		farm: f, Oracle: l, tasks: map[string]task{}, r: rand.New(rand.NewPCG(seed, 2)), pair: p,
		sockets: map[*worker]*socket{}, rest: map[*worker]chan time.Duration{}, asleep: map[*worker]bool{},
	}
	for _, name := range []string{"ch-a", "ch-b"} {
		h := hosttest.StartHost(t, name, "--live-restore")
		hosttest.Busybox(t, h)
		must(docker(t.Context(), h, "run", "-d", "--name", "foreign", hosttest.BusyboxTag, "sleep", "3600"))(t)
		must(docker(t.Context(), h, "volume", "create", "foreign"))(t)
		w.watch(t, h)
		m.hosts = append(m.hosts, h)
	}
	var before [][]string
	for _, h := range m.hosts {
		before = append(before, must(things(t.Context(), h, ""))(t))
	}
	tending, stopTending := context.WithCancel(t.Context())
	defer stopTending()
	var tenders sync.WaitGroup
	for i, h := range []*hosttest.Host{m.hosts[0], m.hosts[0], m.hosts[1]} {
		s := startSocket(t, h.Socket())
		diskOf(t, f, fmt.Sprint("w", i))
		worker := f.worker(h, fmt.Sprint("w", i), s.host(), "", "--lease", chaosLease.String(), "--slots", "2")
		m.sockets[worker], m.rest[worker] = s, make(chan time.Duration, 1)
		tenders.Go(func() {
			worker.tend(tending, func() time.Duration {
				select {
				case d := <-m.rest[worker]:
					return d
				default:
					return 200 * time.Millisecond
				}
			})
		})
	}
	tasks := make([]task, jobCount)
	for i := range tasks {
		tasks[i] = must(draw(r, i, jobCount, f.dir))(t)
		m.tasks[tasks[i].Key] = tasks[i]
	}
	o := m.stock(t)
	stocked := time.Since(began)
	var lifted time.Duration
	var all errgroup.Group
	all.Go(func() error { return m.submitAll(t.Context(), tasks, faultCount) })
	all.Go(func() error {
		defer close(o.spared)
		m.run(t.Context(), faultCount)
		lifted = time.Since(began)
		return nil
	})
	all.Go(func() error {
		time.Sleep(time.Duration(rand.New(rand.NewPCG(seed, 3)).Int64N(int64(10 * time.Second))))
		o.work(t.Context(), patience(jobCount))
		return nil
	})
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	rebuilt := time.Since(began)
	m.settle(t.Context(), patience(jobCount))
	quiet := time.Since(began)
	t.Logf("seed %d: the images after %s, the last fault after %s, the rebuild after %s, the last job after %s", seed,
		stocked.Round(time.Second), lifted.Round(time.Second), rebuilt.Round(time.Second), quiet.Round(time.Second))
	built := o.acknowledge(t.Context())
	l.Audit(t.Context(), f.records, must(f.blobs())(t), w.of)
	o.audit(t.Context(), built)
	o.report(t, seed, built)
	stopTending()
	rests()
	m.tidy(t.Context(), &tenders, before)
	m.report(t, seed, quiet)
}

// submitAll submits the tasks, spread over the time of the faults.
func (m *monkey) submitAll(ctx context.Context, tasks []task, faultCount int) error {
	pause := time.Duration(faultCount) * 2 * time.Second / time.Duration(len(tasks))
	var under errgroup.Group
	under.SetLimit(4)
	for _, task := range tasks {
		under.Go(func() error { return m.place(ctx, task) })
		time.Sleep(pause)
	}
	return under.Wait()
}

// place submits a task until the farm has taken it, and again when the database
// went back in time meanwhile.
func (m *monkey) place(ctx context.Context, t task) error {
	since := time.Now()
	for {
		epoch := m.Epoch()
		id, err := m.submit(ctx, t.args...)
		if err == nil && m.Acknowledged(id, t.Task, since, epoch) {
			return nil
		}
		if ctx.Err() != nil || time.Since(since) > 3*time.Minute {
			return fmt.Errorf("a job that %s was not taken: %w", t, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// settle waits until all jobs have ended, or for as long as they may take.
func (m *monkey) settle(ctx context.Context, patience time.Duration) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		alive := 0
		for _, s := range []jobs.State{jobs.Queued, jobs.Waiting, jobs.Running} {
			found, _, err := m.records.Scan(ctx, s, 0, 1000)
			alive += len(found)
			if err != nil {
				alive++
			}
		}
		if alive == 0 && m.allEnded(ctx) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// allEnded reports whether every job that was acknowledged has ended, and then it stays
// so. A job that is not may be in none of the scans of settle: it goes from one state to
// another between two of them.
func (m *monkey) allEnded(ctx context.Context) bool {
	for _, id := range m.Jobs() {
		if job, err := m.records.Get(ctx, id); err != nil || !job.State.Terminal() {
			return false
		}
	}
	return true
}

// tidy ends the workers and holds what is left against what was there before.
// Each gets the chance of a quiet start: what a worker could not remove because
// its daemon was away it removes then.
func (m *monkey) tidy(ctx context.Context, tenders *sync.WaitGroup, before [][]string) {
	tenders.Wait()
	for _, w := range m.workers {
		if err := w.Drain(time.Minute); err != nil {
			m.Violation("%v", err)
			w.Kill()
		}
	}
	for _, w := range m.workers {
		w.start()
	}
	jobs := map[string]bool{}
	for _, id := range m.Jobs() {
		jobs[id] = true
	}
	if len(jobs) != len(m.tasks) {
		m.Violation("I1 %d submissions were acknowledged with %d jobs", len(m.tasks), len(jobs))
	}
	left := func() error {
		errs := []error{m.left(), m.strayKeys(ctx, jobs)}
		for i, h := range m.hosts {
			now, err := things(ctx, h, "")
			if err == nil && !slices.Equal(now, before[i]) {
				err = fmt.Errorf("host %s has %q and had %q", h.Name, now, before[i])
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	var err error
	// asynq finds out after a minute that the worker that had a ticket is gone, and the
	// reconciler after two, where asynq does not look.
	for deadline := time.Now().Add(150 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = left(); err == nil {
			break
		}
	}
	if err != nil {
		m.Violation("I4 %v", err)
	}
	for _, w := range m.workers {
		if err := w.Drain(time.Minute); err != nil {
			m.Violation("%v", err)
		}
	}
	if err := m.told(); err != nil {
		m.Violation("I4 %v", err)
	}
	for _, h := range m.hosts {
		if up, err := docker(ctx, h, "inspect", "-f", "{{.State.Running}}", "foreign"); err != nil || !slices.Equal(up, []string{"true"}) {
			m.Violation("I4 another program's container on host %s: %q %v", h.Name, up, err)
		}
	}
}

func (m *monkey) report(t *testing.T, seed uint64, quiet time.Duration) {
	t.Helper()
	outcomes := map[string]int{}
	attempts := 0
	for _, id := range m.Jobs() {
		job, err := m.records.Get(t.Context(), id)
		if err != nil {
			continue
		}
		attempts += job.Attempt
		kind := string(job.State)
		if job.Result != nil && job.Result.Failure != nil {
			kind += "/" + string(job.Result.Failure.Kind)
		}
		outcomes[kind]++
	}
	var kinds strings.Builder
	faults, total := m.Faults(), 0
	for _, k := range slices.Sorted(maps.Keys(faults)) {
		total += faults[k]
		fmt.Fprintf(&kinds, "\n\t%2d %s", faults[k], k)
	}
	t.Logf("seed %d: %d jobs in %d attempts, %d faults of %d kinds, %d violations, %d logs torn, %s until all was quiet\n\t%v%s",
		seed, len(m.tasks), attempts, total, len(faults), len(m.Violations()), m.Torn(), quiet.Round(time.Second), outcomes, kinds.String())
	for _, v := range m.Violations() {
		t.Error(v)
	}
	if t.Failed() {
		t.Logf("workers' logs are in %s", filepath.Join(m.dir, "*.log"))
	}
}
