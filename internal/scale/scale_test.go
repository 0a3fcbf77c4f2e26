//go:build integration

package scale_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var (
	workersFlag  = flag.String("scale.workers", "10", "measure with so many workers, one after the other")
	queuedFlag   = flag.String("scale.queued", "500", "measure with so many jobs that wait")
	finishedFlag = flag.String("scale.finished", "3000", "measure with so many jobs that have ended")
	routesFlag   = flag.String("scale.routes", "1,50", "measure with so many routes")
	eachFlag     = flag.Int("scale.each", 10, "how many workers a process has")
	slotsFlag    = flag.Int("scale.slots", 2, "how many jobs a worker runs at once")
	runFlag      = flag.Duration("scale.run", 200*time.Millisecond, "how long a job runs")
	idleFlag     = flag.Duration("scale.idle", 2*time.Second, "how long idle and busy workers are watched")
	loadFlag     = flag.Duration("scale.load", time.Second, "for how long there is work in each measurement of jobs")
	claimsFlag   = flag.Int("scale.claims", 10, "how many jobs are submitted one by one")
)

func TestMain(m *testing.M) {
	if config := os.Getenv(hostsVariable); config != "" {
		if err := runHosts(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestScale measures a farm that grows: ended jobs first, then workers, then jobs that
// wait, so that the last rows are of all of them at once. It fails when a job is lost, not
// when something is slow.
func TestScale(t *testing.T) {
	f := newFarm(t, stateDir(t), *slotsFlag)
	r := &report{}
	workers, queued := sizes(t, *workersFlag), sizes(t, *queuedFlag)
	f.grow(workers[0], *eachFlag)
	per := f.idle(r)
	running := f.busy(r, per)
	f.load(r, per, running, besideEnded, 0)
	for _, n := range sizes(t, *finishedFlag) {
		f.fill(r, n)
		f.load(r, f.alone(r, n), running, besideEnded, n)
	}
	for i, n := range workers {
		if i > 0 {
			start := time.Now()
			f.grow(n, *eachFlag)
			r.note("%d workers after %s", n, time.Since(start).Round(time.Millisecond))
			per = f.idle(r)
		}
		f.claims(r)
		if i > 0 {
			running = f.busy(r, per)
			f.load(r, per, running, "", n)
		}
	}
	for _, n := range queued {
		f.wait(r, per, running, n)
	}
	t.Logf("\n%s", r)
	fmt.Printf("\n%s\n%s", f.machine(), r)
}

// What else there is while jobs are measured; it is what their size counts, else that is
// the workers.
const (
	besideEnded   = ", beside ended jobs"
	besideWaiting = ", beside waiting jobs"
)

func sizes(t *testing.T, text string) (all []int) {
	t.Helper()
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 {
			t.Fatalf("sizes %q: want numbers with commas between them", text)
		}
		all = append(all, n)
	}
	return all
}

// rate is what a farm costs each second: commands, and the CPU time of Redis.
type rate struct {
	commands float64
	cpu      time.Duration
}

// watch measures what the farm costs each second while it goes on as it is.
func (f *farm) watch() (rate, usage, usage) {
	f.Helper()
	before := f.usage()
	<-time.After(*idleFlag)
	after := f.usage()
	s := after.at.Sub(before.at).Seconds()
	return rate{(after.commands - before.commands) / s, time.Duration(float64(after.cpu-before.cpu) / s)}, before, after
}

// idle measures the workers while they have nothing to do.
func (f *farm) idle(r *report) rate {
	f.Helper()
	<-time.After(*idleFlag / 4) // for what follows a start
	total, before, after := f.watch()
	per := rate{total.commands / float64(f.hosts), total.cpu / time.Duration(f.hosts)}
	got := f.read()
	r.row("idle worker, commands each second", f.hosts, "%.2f", per.commands)
	r.row("idle worker, CPU of Redis each second", f.hosts, "%.0f µs", micros(per.cpu))
	r.row("worker, connections to Redis", f.hosts, "%.1f", (after.clients-1)/float64(f.hosts))
	r.row("worker, resident memory", f.hosts, "%.2f MB", float64(got.Memory)/float64(f.hosts)/1e6)
	r.note("idle, %d workers: %s", f.hosts, costliest(before, after))
	return per
}

// claims measures how long a job waits for a worker in a farm that has nothing to do.
func (f *farm) claims(r *report) {
	f.Helper()
	var waits []time.Duration
	for range *claimsFlag {
		<-time.After(20 * time.Millisecond)
		start := time.Now()
		sub, err := f.svc.Submit(f.Context(), job(0))
		f.must(err)
		done, err := f.svc.Wait(f.Context(), sub.ID)
		f.must(err)
		waits = append(waits, done.Started.Sub(start)) // Redis has this machine's clock
	}
	trips := f.roundTrips()
	r.row("round trip to Redis, p50", f.hosts, "%.2f ms", millis(quantile(trips, 0.5)))
	r.row("round trip to Redis, p99", f.hosts, "%.2f ms", millis(quantile(trips, 0.99)))
	r.row("submit to claim, idle farm, p50", f.hosts, "%.1f ms", millis(quantile(waits, 0.5)))
	r.row("submit to claim, idle farm, p99", f.hosts, "%.1f ms", millis(quantile(waits, 0.99)))
}

// busy measures what a job costs each second that it runs, beside an idle worker.
func (f *farm) busy(r *report, idle rate) rate {
	f.Helper()
	jobsAtOnce := f.hosts * f.slots
	ended := f.count(jobs.Succeeded)
	f.submit(jobsAtOnce, 3**idleFlag/2+time.Duration(jobsAtOnce)*10*time.Millisecond)
	start := time.Now()
	f.until("all slots are busy", func() bool { return f.count(jobs.Running) == jobsAtOnce })
	r.row("a job for each slot of an idle farm, all claimed after", f.hosts, "%.2f s", time.Since(start).Seconds())
	total, before, after := f.watch()
	if n := f.count(jobs.Running); n != jobsAtOnce {
		r.note("%d workers: %d of %d jobs ran to the end of the measurement", f.hosts, n, jobsAtOnce)
	}
	per := rate{
		(total.commands - idle.commands*float64(f.hosts)) / float64(jobsAtOnce),
		(total.cpu - idle.cpu*time.Duration(f.hosts)) / time.Duration(jobsAtOnce),
	}
	r.row("running job, commands each second", f.hosts, "%.2f", per.commands)
	r.row("running job, CPU of Redis each second", f.hosts, "%.0f µs", micros(per.cpu))
	r.note("busy, %d workers: %s", f.hosts, costliest(before, after))
	f.until("they have ended", func() bool { return f.count(jobs.Succeeded) == ended+jobsAtOnce })
	return per
}

// load measures what a job costs from its submission to its end, without what the workers
// cost anyway.
func (f *farm) load(r *report, idle, running rate, beside string, size int) {
	f.Helper()
	jobsAtOnce := f.hosts * f.slots
	n := max(jobsAtOnce, int(float64(jobsAtOnce)*loadFlag.Seconds()/runFlag.Seconds()))
	ended := f.count(jobs.Succeeded)
	f.read()
	before := f.usage()
	f.submit(n, *runFlag)
	f.until("the jobs have ended", func() bool { return f.count(jobs.Succeeded) == ended+n })
	f.jobs(r, before, n, idle, running, beside, size)
}

// jobs adds the rows of n jobs that have ended since.
func (f *farm) jobs(r *report, before usage, n int, idle, running rate, beside string, size int) {
	f.Helper()
	after := f.usage()
	s, ran := after.at.Sub(before.at).Seconds(), float64(n)*runFlag.Seconds()
	commands := after.commands - before.commands - idle.commands*float64(f.hosts)*s - running.commands*ran
	cpu := float64(after.cpu-before.cpu) - float64(idle.cpu)*float64(f.hosts)*s - float64(running.cpu)*ran
	idles := f.read().Idle
	r.row("job, commands"+beside, size, "%.1f", commands/float64(n))
	r.row("job, CPU of Redis"+beside, size, "%.0f µs", micros(time.Duration(cpu/float64(n))))
	r.row("jobs each second"+beside, size, "%.1f", float64(n)/s)
	r.row("CPU of Redis meanwhile"+beside, size, "%.1f %%", 100*(after.cpu-before.cpu).Seconds()/s)
	if len(idles) > 0 {
		r.row("slot free to its next claim, p50"+beside, size, "%.1f ms", millis(quantile(idles, 0.5)))
		r.row("slot free to its next claim, p99"+beside, size, "%.1f ms", millis(quantile(idles, 0.99)))
	}
	r.note("jobs, %d workers%s (%d): %s", f.hosts, beside, size, costliest(before, after))
}

// fill makes jobs that have ended until there are so many.
func (f *farm) fill(r *report, total int) {
	f.Helper()
	n := total - f.count(jobs.Succeeded)
	if n <= sample {
		return
	}
	before, start := f.memory(), time.Now()
	f.finish(n)
	f.until("what wakes the readers of the sample is gone", func() bool {
		n, err := f.rdb.Exists(f.Context(), "slipway:{019e0000-0000-7000-8000-000000000000}:news").Result()
		f.must(err)
		return n == 0
	})
	r.row("ended job, memory in Redis", total, "%.0f B", (f.memory()-before)/float64(n))
	r.note("%d ended jobs made in %s; Redis uses %.2f GB", n, time.Since(start).Round(time.Second), f.info("used_memory")/1e9)
}

// alone measures what the farm costs beside ended jobs while it has nothing to do, so that
// jobs are not charged with it.
func (f *farm) alone(r *report, size int) rate {
	f.Helper()
	start := time.Now()
	f.until("Redis does not rewrite its append-only file", func() bool {
		return f.info("aof_rewrite_in_progress")+f.info("aof_rewrite_scheduled") == 0
	})
	if took := time.Since(start); took > time.Second {
		r.note("Redis rewrote its append-only file for %s more after there were %d ended jobs", took.Round(time.Second), size)
	}
	total, before, after := f.watch()
	r.row("CPU of Redis each second without jobs, beside ended jobs", size, "%.1f ms", millis(total.cpu))
	r.note("without jobs, beside %d ended ones: %s", size, costliest(before, after))
	return rate{total.commands / float64(f.hosts), total.cpu / time.Duration(f.hosts)}
}

// wait measures a farm that has so many jobs waiting.
func (f *farm) wait(r *report, idle, running rate, total int) {
	f.Helper()
	n := total - f.count(jobs.Queued)
	had, ran := f.memory(), f.count(jobs.Succeeded)
	if n > 0 {
		start := time.Now()
		f.submit(n, *runFlag)
		took := time.Since(start).Seconds()
		gone := f.count(jobs.Succeeded) - ran + f.count(jobs.Running)
		if left := n - gone; left > n/2 && n >= 10*f.hosts*f.slots { // else what the running ones keep counts for more
			r.row("waiting job, memory in Redis", total, "%.0f B", (f.memory()-had)/float64(n))
		}
		r.note("%d jobs submitted in %.1f s, %.0f each second, while %d workers took them", n, took, float64(n)/took, f.hosts)
	}
	ended := f.count(jobs.Succeeded)
	f.read()
	f.must(f.rdb.Do(f.Context(), "SLOWLOG", "RESET").Err())
	before := f.usage()
	// For as long as there is to be work, and is.
	for end := time.Now().Add(*loadFlag); time.Now().Before(end) && f.count(jobs.Queued) > f.hosts*f.slots; {
		<-time.After(100 * time.Millisecond)
	}
	if done := f.count(jobs.Succeeded) - ended; done > 0 {
		f.jobs(r, before, done, idle, running, besideWaiting, total)
	}
	r.row("longest command"+besideWaiting, total, "%.1f ms", millis(f.longest(r)))
}

// longest is how long the longest command had Redis to itself since SLOWLOG RESET.
func (f *farm) longest(r *report) (most time.Duration) {
	f.Helper()
	entries, err := f.rdb.SlowLogGet(f.Context(), -1).Result()
	f.must(err)
	text := "none"
	for _, e := range entries {
		if e.Duration > most {
			most = e.Duration
			text = strings.Join(e.Args[:min(len(e.Args), 4)], " ")
		}
	}
	r.note("the longest command: %s", text)
	return most
}
