//go:build integration && chaos

package chaos_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// cell is one step with one fault, on a farm of its own.
type cell struct {
	*farm
	m     *matrix
	step  faults.Step
	fault string
	point point
	job   errand
	// back is when the process that was cut off was there again.
	back time.Time
	note string
}

func (m *matrix) cell(t *testing.T, step faults.Step, fault string) {
	began := time.Now()
	name := string(step) + "-" + fault
	c := &cell{farm: newFarm(t, name), m: m, step: step, fault: fault, job: m.errand(t, name, step, fault)}
	workers, producer := filepath.Join(c.dir, "held"), filepath.Join(c.dir, "held-producer")
	for i, h := range m.hosts {
		w := c.worker(h, fmt.Sprintf("w%d", i), h.DockerHost(), workers, "--lease", lease.String(), "--slots", "1")
		w.start()
	}
	var id string
	if slices.Contains([]faults.Step{"accept", "record", "ticket"}, step) {
		c.point = arm(t, producer, step)
		id = c.producer(producer)
	} else {
		c.point = arm(t, workers, step)
		id = must(c.submit(t.Context(), c.job.args...))(t)
		c.consumer(id)
	}
	job := c.ended(id, 3*time.Minute)
	recovery := job.Finished.Sub(c.back) - c.workAfter(job, c.back)
	c.judge(job)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, row{step, fault, job.Attempt, max(recovery, 0), time.Since(began), c.note})
	if limit := recoveryLimit(step, fault); recovery > limit {
		t.Errorf("the job ended %s after the process was back, want %s at most", recovery, limit)
	}
}

// recoveryLimit bounds how long a job may take besides its own work once the
// process that was cut off is back.
func recoveryLimit(step faults.Step, fault string) time.Duration {
	if step == "dequeue" && fault == killed {
		// No worker owns the job, so none adopts it: the reconciler finds out that
		// the ticket's worker is gone, ten seconds after its last sign of life.
		return 20 * time.Second
	}
	return 10 * time.Second
}

// workAfter is how long containers of the job ran after a time, and how long its
// image took to make when that began anew.
func (c *cell) workAfter(job jobs.Job, since time.Time) (d time.Duration) {
	for _, l := range c.m.witness.of(job.ID) {
		from := l.Started
		if from.Before(since) {
			from = since
		}
		if l.Died.After(from) {
			d = max(d, l.Died.Sub(from))
		}
	}
	if job.Attempt == 1 {
		return d
	}
	for _, t := range job.Result.Times {
		if t.Stage != jobs.StageRun { // containers are seen from outside
			d += time.Duration(t.Millis) * time.Millisecond
		}
	}
	return d
}

// producer submits with a process that is cut off at the step, and again with
// the same key.
func (c *cell) producer(dir string) (id string) {
	c.t.Helper()
	cmd := c.enqueue(c.t.Context(), dir, append([]string{"submit", "-d", "-q"}, c.job.args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	pid := c.point.hit()
	if pid != cmd.Process.Pid {
		c.t.Fatalf("process %d is at step %s, want the producer, %d", pid, c.step, cmd.Process.Pid)
	}
	if c.fault == killed {
		_ = cmd.Process.Kill()
		c.point.release()
		c.back = time.Now()
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			c.t.Fatal(err)
		}
		return must(c.submit(c.t.Context(), c.job.args...))(c.t)
	}
	c.signal(pid, syscall.SIGSTOP)
	c.point.release()
	// The other worker lost patience, and the farm's reconciler has had time to look.
	id = must(c.submit(c.t.Context(), c.job.args...))(c.t)
	time.Sleep(2 * lease)
	c.signal(pid, syscall.SIGCONT)
	c.back = time.Now()
	if err := cmd.Wait(); err != nil {
		c.t.Errorf("the producer that was stopped: %v\n%s", err, stderr.String())
	}
	if again := strings.TrimSpace(stdout.String()); again != id {
		c.t.Errorf("the producer that was stopped has job %q, the other one %q", again, id)
	}
	return id
}

// consumer cuts the worker that comes to the step off.
func (c *cell) consumer(id string) {
	c.t.Helper()
	pid := c.point.hit()
	at := slices.IndexFunc(c.workers, func(w *worker) bool { return w.Pid() == pid })
	if at < 0 {
		c.t.Fatalf("process %d is at step %s, which is no worker", pid, c.step)
	}
	w := c.workers[at]
	if c.fault == killed {
		w.Kill()
		c.point.release()
		c.back = w.start()
		return
	}
	c.signal(pid, syscall.SIGSTOP)
	c.point.release()
	since := time.Now()
	// Until another worker is at the job, or as long as a lease and the time that
	// the reconciler gives owners; longer where no worker can take it.
	limit := since.Add(6 * lease)
	if c.step == "dequeue" || c.step == "finish" {
		limit = since.Add(3 * lease)
	}
	for time.Now().Before(limit) && !c.taken(id, w) {
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(max(time.Second, time.Until(since.Add(lease+time.Second))))
	c.signal(pid, syscall.SIGCONT)
	c.back = time.Now()
	c.note = fmt.Sprintf("stopped for %.0f s", c.back.Sub(since).Seconds())
}

// taken reports whether another worker than w is at work on the job: its
// container runs, if there is one already.
func (c *cell) taken(id string, w *worker) bool {
	job, err := c.records.Get(c.t.Context(), id)
	if err != nil || job.Worker == w.Name || job.Worker == "" || job.State == jobs.Queued || job.State == jobs.Waiting {
		return false
	}
	if c.step != "running" {
		return true
	}
	return len(c.m.witness.of(id)) > 1
}

func (c *cell) signal(pid int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		c.t.Fatal(err)
	}
}

// judge holds the job, and what is left of it, against what was asked for.
func (c *cell) judge(job jobs.Job) {
	c.t.Helper()
	ctx := c.t.Context()
	if job.State != jobs.Succeeded || job.Retries != 0 {
		c.t.Errorf("the job is %s with %d retries spent: %+v; want succeeded with none", job.State, job.Retries, job.Result)
	}
	if page, err := c.records.List(ctx, jobs.Query{}); err != nil || len(page.Jobs) != 1 {
		c.t.Errorf("%d jobs (%v), want one", len(page.Jobs), err)
	}
	if got, torn, err := oracle.Output(ctx, must(c.blobs())(c.t), job); err != nil || torn || got != c.job.output {
		c.t.Errorf("the log is %q (%v), want %q", got, err, c.job.output)
	}
	if c.step == "outputs" && len(job.Result.Outputs) != 1 {
		c.t.Errorf("outputs %+v, want one", job.Result.Outputs)
	}
	if c.job.builds && len(job.Result.RepoDigests) != 1 {
		c.t.Errorf("pushed %q, want one", job.Result.RepoDigests)
	}
	// A worker that comes late has to be done with it, and all of it gone.
	farmtest.Eventually(c.t, 20*time.Second, "only notes on builds are left on the workers", func() error { return c.left("builds") })
	// What a build was cut off in, the worker looks at with its strays: twice, a minute apart.
	farmtest.Eventually(c.t, 150*time.Second, "nothing is left on the workers", func() error { return c.left() })
	c.clean()
	events, err := oracle.Events(ctx, c.records, job.ID)
	if n := oracle.Count(events, jobs.EventFinished); err != nil || n != 1 {
		c.t.Errorf("the job ended %d times (%v):%s", n, err, oracle.History(events))
	}
	if n := oracle.Count(events, jobs.EventStale); n > 0 && c.fault == killed {
		c.t.Errorf("%d results came too late:%s", n, oracle.History(events))
	} else if n > 0 {
		c.note += ", its late result was refused"
	}
	if again, err := c.records.Get(ctx, job.ID); err != nil || again.Result == nil || again.Result.Attempt != job.Result.Attempt || !again.Finished.Equal(job.Finished) {
		c.t.Errorf("the result changed (%v): %+v, and was %+v", err, again.Result, job.Result)
	}
	c.containers(job)
	if c.t.Failed() {
		c.t.Logf("history:%s", oracle.History(events))
	}
}

// containers holds what the daemons did against the rule of one at a time.
func (c *cell) containers(job jobs.Job) {
	c.t.Helper()
	lives := c.m.witness.of(job.ID)
	if c.fault == killed && len(lives) != 1 {
		c.t.Errorf("%d containers ran, want one: %+v", len(lives), lives)
	}
	for _, o := range oracle.Overlaps(lives) {
		after := o.Until.Sub(c.back)
		if c.fault == killed || after > 5*time.Second || o.First.Host == o.Second.Host {
			c.t.Errorf("%s, to %s after the process was back", o, after)
			continue
		}
		c.note += fmt.Sprintf(", two ran until %.1f s after its return", after.Seconds())
	}
}

// clean waits until nothing of the farm is on the daemons; the image that was
// asked for is taken away first.
func (c *cell) clean() {
	c.t.Helper()
	ctx := c.t.Context()
	farmtest.Eventually(c.t, 20*time.Second, "nothing is left on the daemons", func() error {
		var errs []error
		for _, h := range c.m.hosts {
			if c.job.tag != "" {
				_, _ = docker(ctx, h, "rmi", c.job.tag) // it may not have been built here
			}
			left, err := things(ctx, h, c.name)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%q on host %s", left, h.Name)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}
