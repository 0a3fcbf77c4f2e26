//go:build integration

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// A build goes to the host that has its image or its cache, whatever the worker remembers,
// and to another when that host is busy or out of the farm.
func TestWarmHosts(t *testing.T) {
	t.Parallel()
	hostA, hostB := hosts.Take(t), hosts.Take(t)
	f := newFarm(t)
	one := f.worker(hostA, "one", "--slots", "1")
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nARG N\nRUN echo $N > /n\n", "a": t.Name(),
	})
	built := 0
	// build submits a build that was not made before, with an image that stays or without.
	build := func(name string) string {
		t.Helper()
		built++
		args := []string{"--name", name, "--build-arg", fmt.Sprint("N=", built)}
		if name == "kept" {
			args = append(args, "-t", "kept:1")
		}
		return f.submit(append(args, dir, "--", "cat", "/n")...)
	}
	// on checks which worker ran the job, and whether it waited for long.
	on := func(id, worker string, waits bool) {
		t.Helper()
		job := f.ended(id)
		if job.State != jobs.Succeeded {
			t.Fatalf("job %s is %s with %+v", id, job.State, job.Result)
		}
		waited := job.Started.Sub(job.Queued)
		if job.Worker != worker || waits != (waited > 1900*time.Millisecond) {
			t.Errorf("a build of %s began on %s after %s; want on %s, after the wait: %t", job.Spec.Name, job.Worker, waited, worker, waits)
		}
	}
	names := []string{"kept", "cached"}
	for _, name := range names {
		on(build(name), "one", false)
	}
	f.worker(hostB, "two", "--slots", "1")
	f.becomes("two", jobs.HostReady, time.Minute)
	again := func(when string) {
		t.Helper()
		t.Log(when)
		for range 2 {
			for _, name := range names {
				on(build(name), "one", false)
			}
		}
	}
	again("warm from its own builds")
	restart := func() {
		t.Helper()
		one.Kill()
		one.start()
		<-time.After(time.Second) // it looks at its engine when it takes jobs
	}
	restart()
	again("warm from what the engine has")

	long := f.submit("--image", hosttest.BusyboxTag, "--requires", "host=one", "--", "sleep", "600")
	f.eventually(20*time.Second, "the first host is busy", func() bool { return f.job(long).State == jobs.Running })
	on(build("kept"), "two", true)
	f.order("cordon", "one", "--reason", "a new disk")
	on(build("cached"), "two", false)
	if a := f.enqueue("cancel", long); a.code != 0 {
		t.Fatal(a.stderr)
	}
	f.ended(long)
	f.order("resume", "one")
	for _, name := range names { // both are warm by now
		if job := f.ended(build(name)); job.Started.Sub(job.Queued) > time.Second {
			t.Errorf("a build of %s waited for %s though both hosts are warm", name, job.Started.Sub(job.Queued))
		}
	}
	// What the engine has no more does not count.
	docker(t, hostA, "rmi", "-f", "kept:1")
	docker(t, hostA, "builder", "prune", "-a", "-f")
	restart()
	for range 2 {
		for _, name := range names {
			on(build(name), "two", false)
		}
	}
}
