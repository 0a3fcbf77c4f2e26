package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// chair is a seat whose answers a test gives.
type chair struct {
	mu     sync.Mutex
	answer map[string]error // by method
	calls  map[string]int
	daemon string // that it was taken for
}

func newChair() *chair { return &chair{answer: map[string]error{}, calls: map[string]int{}} }

func (c *chair) set(method string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer[method] = err
}

func (c *chair) count(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

func (c *chair) call(method string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[method]++
	return c.answer[method]
}

func (c *chair) Check(context.Context) error { return c.call("check") }
func (c *chair) Keep(context.Context) error  { return c.call("keep") }
func (c *chair) Leave(context.Context) error { return c.call("leave") }

func (c *chair) Take(_ context.Context, daemon string) error {
	err := c.call("take")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.daemon = daemon
	return err
}

// member is what a worker of farm-1 knows of the others.
type member struct {
	jobs.Seats
	refused error
}

func (m member) Join(context.Context) (string, error) { return "farm-1", m.refused }

// anothers is what a seat says of an identity that is another worker's.
var errAnothers = fmt.Errorf("%w: worker two took it", jobs.ErrDisplaced)

// ends waits for the end of Run and returns its error.
func (r *running) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- nil // for the clean-up
		return err
	case <-time.After(patience):
		t.Fatal("the worker did not end")
		return nil
	}
}

// kept is a job with a service of host-1 that another engine has.
func (f *farm) keptElsewhere() string {
	f.t.Helper()
	spec := shell("sleep 600")
	spec.Run.Keep = jobs.Duration(time.Hour)
	id := f.submit(spec)
	ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
	job, err := f.memory.Claim(f.t.Context(), ticket, jobs.Owner{Worker: "one", Host: "host-1", Nonce: "theirs", Lease: time.Hour})
	if err != nil {
		f.t.Fatal(err)
	}
	r := jobs.Result{State: jobs.Succeeded, Host: "host-1", Attempt: 1, ContainerID: "elsewhere", KeepUntil: time.Now().Add(time.Hour)}
	if err := f.memory.Finish(f.t.Context(), job.ID, "theirs", r); err != nil {
		f.t.Fatal(err)
	}
	return id
}

// A worker with another host's identity touches nothing of that host's: neither jobs
// nor services, verdicts nor containers, nor its line in the registry.
func TestAnothersIdentity(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"check", "take"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.hosts = f.memory
				line := jobs.Host{Name: "host-1", Worker: "the original", Every: jobs.Duration(time.Hour)}
				if err := f.memory.Beat(t.Context(), line); err != nil {
					t.Fatal(err)
				}
				id, container := f.crashedJob(shell("echo up; sleep 60"))
				f.journaled(id, time.Hour)
				kept := f.keptElsewhere()
				c := newChair()
				c.set(method, errAnothers)
				f.seat = c
				if err := f.start().ends(t); !errors.Is(err, jobs.ErrDisplaced) {
					t.Errorf("Run: %v; want it displaced", err)
				}
				if job := f.job(id); job.Nonce != "" || job.Worker != "one" || f.nonce(id) != "dead" {
					t.Errorf("job %+v; want it the original's", job)
				}
				if _, err := f.engine.Inspect(t.Context(), container); err != nil {
					t.Errorf("the original's container: %v", err)
				}
				if list, err := f.memory.Kept(t.Context(), "host-1"); err != nil || len(list) != 1 || list[0].ID != kept {
					t.Errorf("kept services %v, %v; want the original's", list, err)
				}
				list, _, err := f.memory.Hosts(t.Context())
				if err != nil || len(list) != 1 || method == "check" && list[0].Worker != "the original" {
					t.Errorf("the registry has %+v, %v; want the original's line", list, err)
				}
				if c.count("leave") != 0 {
					t.Error("it left a seat that it never had")
				}
				f.engine.Lose(container)
			})
		})
	}
}

// nonce is the owner of a job, as the reconciler sees it.
func (f *farm) nonce(id string) string {
	f.t.Helper()
	all, _, err := f.memory.Scan(f.t.Context(), jobs.Running, 0, 100)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, job := range all {
		if job.ID == id {
			return job.Nonce
		}
	}
	return ""
}

// While it is not known whose a host is, because Redis is away, what an earlier
// worker left is ended before its lease passes, as it is otherwise.
func TestUnsettledHostEndsOrphans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 600"))
		lease := worker.Defaults().Lease
		f.journaled(id, lease)
		c := newChair()
		for _, method := range []string{"check", "take"} {
			c.set(method, errors.New("away"))
		}
		f.seat = c
		f.memory.Break(errors.New("away"))
		w := f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		time.Sleep(lease / 2)
		w.stop() // a drain changes nothing about it
		if _, err := f.engine.Inspect(t.Context(), container); err != nil {
			t.Errorf("the container is gone long before its lease: %v", err)
		}
		time.Sleep(lease / 2)
		if f.runs(container) {
			t.Error("the container runs on though its lease has passed")
		}
		w.end(t)
	})
}

// A worker that is told to end before it knows whose its host is, ends.
func TestUnsettledHostEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		c := newChair()
		c.set("take", errors.New("away"))
		f.seat = c
		w := f.start()
		time.Sleep(time.Minute)
		w.stop()
		w.end(t)
		if n := c.count("take"); n < 5 || c.count("leave") != 0 {
			t.Errorf("%d tries to take the seat, %d to leave it; want some and none", n, c.count("leave"))
		}
	})
}

// A worker keeps its seat now and then and when it is called, and leaves it in order.
func TestSeatIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		c := newChair()
		f.seat = c
		f.others = member{f.memory, nil}
		w := f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		time.Sleep(10*time.Minute + time.Second)
		if n := c.count("keep"); n != 6 {
			t.Errorf("it was kept %d times in ten minutes; want 6", n)
		}
		if err := f.memory.CallHost(t.Context(), "host-1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := c.count("keep"); n != 7 {
			t.Errorf("it was kept %d times after a call; want once more", n)
		}
		c.set("keep", errors.New("away"))
		time.Sleep(5 * time.Minute)
		id := f.submit(shell("sleep 5"))
		f.containerRuns(id)
		if labels := f.engine.Containers()[0].Labels; labels[engine.LabelFarmID] != "farm-1" || labels[engine.LabelFarm] != "default" {
			t.Errorf("a container has the labels %v; want name and ID of the farm", labels)
		}
		if job := f.ended(id); job.State != jobs.Succeeded {
			t.Errorf("job is %s while Redis keeps no seat", job.State)
		}
		info, _ := f.engine.Info(t.Context())
		w.stop()
		w.end(t)
		if c.count("leave") != 1 || c.daemon != info.ID {
			t.Errorf("it was left %d times, and taken for the daemon %q; want once and %q", c.count("leave"), c.daemon, info.ID)
		}
	})
}

// A worker that is not its host any more takes no jobs and says why, lets its own
// ones end, and leaves services and the registry to the host's new worker.
func TestDisplaced(t *testing.T) {
	t.Parallel()
	for _, byOperator := range []bool{false, true} {
		t.Run(fmt.Sprint("told to end: ", byOperator), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.hosts = f.memory
				c := newChair()
				f.seat = c
				w := f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
				id := f.submit(shell("sleep 120"))
				f.containerRuns(id)
				c.set("keep", errAnothers)
				if err := f.memory.CallHost(t.Context(), "host-1"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				if err := w.Unfit(); !errors.Is(err, jobs.ErrDisplaced) {
					t.Errorf("it is unfit because %v; want it displaced", err)
				}
				line := jobs.Host{Name: "host-1", Worker: "two", Every: jobs.Duration(time.Hour)}
				if err := f.memory.Beat(t.Context(), line); err != nil {
					t.Fatal(err)
				}
				kept := f.keptElsewhere()
				late := f.submit(shell("true"))
				if byOperator {
					w.Drain(worker.DrainFinish)
				}
				time.Sleep(2 * time.Minute)
				err := w.ends(t)
				if byOperator != (err == nil) || !byOperator && !errors.Is(err, jobs.ErrDisplaced) {
					t.Errorf("Run: %v", err)
				}
				if job := f.job(id); job.State != jobs.Succeeded {
					t.Errorf("the job that ran is %s; want it succeeded", job.State)
				}
				if job := f.job(late); job.State != jobs.Queued {
					t.Errorf("the job that came later is %s; want it queued", job.State)
				}
				if list, err := f.memory.Kept(t.Context(), "host-1"); err != nil || len(list) != 1 || list[0].ID != kept {
					t.Errorf("kept services %v, %v; want the other worker's", list, err)
				}
				if list, _, err := f.memory.Hosts(t.Context()); err != nil || len(list) != 1 || list[0].Worker != "two" {
					t.Errorf("the registry has %+v, %v; want the other worker's line", list, err)
				}
			})
		})
	}
}

// An engine that comes back without its containers is another host's.
func TestEngineIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.hosts = f.memory
		f.seat = newChair()
		w := f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		time.Sleep(time.Second)
		f.engine.Replace()
		time.Sleep(3 * time.Minute)
		err := w.ends(t)
		if !errors.Is(err, jobs.ErrDisplaced) || !strings.Contains(err.Error(), "the engine has lost its data, or is another one") {
			t.Errorf("Run: %v; want it to tell of the engine", err)
		}
		if list, _, err := f.memory.Hosts(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("the registry has %+v, %v; want nothing: no other process is that host", list, err)
		}
	})
}

// A worker that learns only after its start, because Redis was away, that its farm
// has another name, ends.
func TestOtherFarm(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.others = member{f.memory, fmt.Errorf("%w: it is named so", jobs.ErrOtherFarm)}
	if err := f.start().ends(t); !errors.Is(err, jobs.ErrOtherFarm) {
		t.Errorf("Run: %v; want it refused", err)
	}
}
