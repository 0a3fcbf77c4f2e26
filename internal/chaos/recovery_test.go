//go:build integration && chaos

package chaos_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// How long jobs stand still after what takes a host, its daemon or Redis away.
func TestRecovery(t *testing.T) {
	t.Parallel()
	stays := hosttest.StartHost(t, "rc-stays")
	hosttest.Busybox(t, stays)
	t.Run("cases", func(t *testing.T) {
		t.Run("host gone", func(t *testing.T) { t.Parallel(); hostGone(t, "gone", stays, 120*time.Second) })
		t.Run("host gone, lease of 6 s", func(t *testing.T) {
			t.Parallel()
			hostGone(t, "gone-soon", stays, 15*time.Second, "--lease", "6s")
		})
		t.Run("worker killed", func(t *testing.T) { t.Parallel(); workerKilled(t, "killed", stays) })
		t.Run("redis stopped for 60 s", func(t *testing.T) { t.Parallel(); redisAway(t, "redis-stopped", stays) })
		t.Run("redis silent for 60 s", func(t *testing.T) { t.Parallel(); redisAway(t, "redis-silent", stays) })
		t.Run("daemon back", func(t *testing.T) { t.Parallel(); daemonBack(t, "back", 2) })
		t.Run("daemon back, live-restore", func(t *testing.T) { t.Parallel(); daemonBack(t, "back-live", 1, "--live-restore") })
	})
}

// workerKilled kills a worker again and again, wherever it is with its jobs, and
// starts it at once.
func workerKilled(t *testing.T, name string, h *hosttest.Host) {
	const kills = 25
	f := newFarm(t, name)
	worker := f.worker(h, "one", h.DockerHost(), "", "--slots", "2")
	worker.start()
	var ids []string
	for i := range 2 * kills {
		task, err := draw(rand.New(rand.NewPCG(uint64(i), 7)), i+1, 0, f.dir) // none that fails
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, must(f.submit(t.Context(), task.args...))(t))
	}
	var took []time.Duration
	for range kills {
		var had []jobs.Job
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		farmtest.Eventually(t, time.Minute, "the worker has a job", func() (err error) {
			if had, _, err = f.records.Scan(t.Context(), jobs.Running, 0, 10); err == nil && len(had) == 0 {
				err = errors.New("it has none")
			}
			return err
		})
		worker.Kill()
		back := time.Now()
		if err := worker.Launch(); err != nil {
			t.Fatal(err)
		}
		for _, job := range had {
			took = append(took, f.goesOn(job.ID, back).Sub(back))
		}
	}
	slices.Sort(took)
	t.Logf("%d jobs of a killed worker stood still for %s (median) after it was started", len(took), took[len(took)/2].Round(time.Millisecond))
	within(t, 10*time.Second, "of them 99 in 100 went on", took[(len(took)*99+99)/100-1])
	for _, id := range ids {
		if job := f.ended(id, 3*time.Minute); job.State != jobs.Succeeded || job.Retries != 0 {
			t.Errorf("job %s is %s with %d retries: %+v", id, job.State, job.Retries, job.Result)
		}
	}
}

// goesOn waits until something happens to a job after a time, and returns when.
func (f *farm) goesOn(id string, after time.Time) (at time.Time) {
	f.t.Helper()
	farmtest.Eventually(f.t, time.Minute, "job "+id+" goes on", func() error {
		events, err := oracle.Events(f.t.Context(), f.records, id)
		if err != nil {
			return err
		}
		last := events[len(events)-1]
		if !last.At.After(after) && last.Type != jobs.EventFinished {
			return fmt.Errorf("the last that happened to it is %s at %s", last.Type, last.At)
		}
		at = after // it had ended before it was killed
		if last.At.After(after) {
			i := slices.IndexFunc(events, func(e jobs.Event) bool { return e.At.After(after) })
			at = events[i].At
		}
		return nil
	})
	return at
}

// newcomer is how long a worker that was just started takes no job away:
// those that it does not hear of may only be late.
const newcomer = 21 * time.Second

// hostGone takes a host away for good, with its daemon and its containers.
func hostGone(t *testing.T, name string, stays *hosttest.Host, limit time.Duration, args ...string) {
	goes := hosttest.StartHost(t, "rc-goes")
	hosttest.Busybox(t, goes)
	var w witness
	w.watch(t, goes)
	w.watch(t, stays)
	f := newFarm(t, name)
	one := f.worker(goes, "one", goes.DockerHost(), "", args...)
	one.start()
	id := f.sleeper(60)
	f.running(&w, id)
	f.worker(stays, "two", stays.DockerHost(), "", args...).start()
	time.Sleep(newcomer)
	one.Kill()
	if err := goes.Kill(); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	var lives []oracle.Life
	farmtest.Eventually(t, limit+30*time.Second, "the job runs again", func() error {
		if lives = w.of(id); len(lives) != 2 || lives[1].Host != stays.Name {
			return fmt.Errorf("it was in containers %+v", lives)
		}
		return nil
	})
	within(t, limit, "a job ran again on another host", lives[1].Started.Sub(gone))
	if job, err := f.records.Get(t.Context(), id); err != nil || job.Retries != 0 {
		t.Errorf("%d of the job's own retries were spent (%v), want none", job.Retries, err)
	}
}

// redisAway takes Redis away for less than the lease.
func redisAway(t *testing.T, name string, h *hosttest.Host) {
	var w witness
	w.watch(t, h)
	server := startRedis(t)
	f := farmOn(t, name, server.SocketURL(), server.SocketURL())
	f.worker(h, "one", h.DockerHost(), "", "--slots", "2").start()
	ids := []string{f.sleeper(20), f.sleeper(75)}
	for _, id := range ids {
		f.running(&w, id)
	}
	ids = append(ids, f.sleeper(1))
	var err error
	back := server.Start
	if name == "redis-silent" {
		back, err = server.Pause()
	} else {
		err = server.Stop()
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(60 * time.Second)
	if err := back(); err != nil {
		t.Fatal(err)
	}
	returned := time.Now()
	for i, id := range ids {
		job := f.ended(id, time.Minute)
		if job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 {
			t.Errorf("job %d is %s after %d attempts and %d losses; want it done at once", i, job.State, job.Attempt, job.Losses)
		}
		if i == 0 {
			within(t, 30*time.Second, "the result that waited for Redis was there", job.Finished.Sub(returned))
		}
	}
}

// daemonBack kills a daemon with a running job, and brings it back.
func daemonBack(t *testing.T, name string, attempts int, options ...string) {
	h := hosttest.StartHost(t, "rc-back", options...)
	hosttest.Busybox(t, h)
	var w witness
	w.watch(t, h)
	f := newFarm(t, name)
	f.worker(h, "one", h.DockerHost(), "").start()
	id := f.sleeper(10)
	f.running(&w, id)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	job := f.ended(id, time.Minute)
	if job.State != jobs.Succeeded || job.Attempt != attempts || job.Retries != 0 {
		t.Errorf("the job is %s after %d attempts and %d retries; want it done after %d and none", job.State, job.Attempt, job.Retries, attempts)
	}
	lives := w.of(id)
	if len(lives) != attempts {
		t.Fatalf("it had containers %+v, want %d", lives, attempts)
	}
	if attempts == 1 {
		within(t, 30*time.Second, "the end of a container that ran on was known", job.Finished.Sub(lives[0].Died))
	} else {
		within(t, 30*time.Second, "a job ran again after its daemon was back", lives[1].Started.Sub(back))
	}
}

// sleeper submits a job that takes so many seconds.
func (f *farm) sleeper(seconds int) (id string) {
	f.t.Helper()
	id, err := f.submit(f.t.Context(), "--init", "--image", hosttest.BusyboxTag, "--", "sleep", fmt.Sprint(seconds))
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// running waits until the job's container runs.
func (f *farm) running(w *witness, id string) {
	f.t.Helper()
	farmtest.Eventually(f.t, 30*time.Second, "job "+id+" runs", func() error {
		if len(w.of(id)) == 0 {
			return errors.New("it has no container")
		}
		return nil
	})
}

func within(t *testing.T, limit time.Duration, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s %.1f s later (%s at most)", what, took.Seconds(), limit)
	if took > limit {
		t.Errorf("%s %s later, want %s at most", what, took, limit)
	}
}
