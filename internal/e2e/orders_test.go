//go:build integration

package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// obeyed is how long a host may take to do as an operator says: two seconds, and what a
// run of the command line takes.
const obeyed = 3 * time.Second

// order runs enqueue hosts with these arguments.
func (f *farm) order(args ...string) {
	f.t.Helper()
	if a := f.enqueue(append([]string{"hosts"}, args...)...); a.code != 0 {
		f.t.Fatalf("hosts %q: exit code %d\n%s", args, a.code, a.stderr)
	}
}

// becomes waits until the host of a worker is in a state.
func (f *farm) becomes(worker string, state jobs.HostState, limit time.Duration) jobs.Host {
	f.t.Helper()
	var h jobs.Host
	f.eventually(limit, "the host of "+worker+" is "+string(state), func() bool {
		for line := range strings.Lines(f.enqueue("hosts", "-o", "jsonl").stdout) {
			var one jobs.Host
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				f.t.Fatalf("hosts: %v\n%s", err, line)
			}
			if one.Worker == worker {
				h = one
			}
		}
		return h.State == state
	})
	return h
}

// An operator takes a host out of the farm from elsewhere: what runs ends, nothing new
// begins, however the worker and Redis end and start again, until the host is resumed.
func TestHostOutOfTheFarm(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	const lines = 40
	id := f.submit(append([]string{"--retries", "2"}, counting(lines, 0)...)...)
	f.said(id, "line 2\n")
	f.order("drain", "one", "--reason", "a new disk")
	h := f.becomes("one", jobs.HostDraining, obeyed)
	if o := h.Order; o == nil || o.Reason != "a new disk" || !strings.Contains(o.By, "@") || len(h.Jobs) != 1 || h.Jobs[0] != id {
		t.Errorf("the host says %+v; want the order with who and why, and the job", h)
	}
	late := f.submit(counting(1, 0)...)
	f.said(id, "line 15\n") // it has had its chance to take the other one
	w.Kill()
	w.start()
	job := f.ended(id)
	if job.State != jobs.Succeeded {
		t.Fatalf("the job is %s: %+v", job.State, job.Result)
	}
	f.undisturbed(job, lines)
	events.startedOnce(job)
	f.becomes("one", jobs.HostDrained, 10*time.Second)

	stillOut := func(after string) {
		t.Helper()
		f.becomes("one", jobs.HostDrained, 10*time.Second)
		<-time.After(5 * time.Second) // more than an idle worker needs to find a ticket
		if state := f.job(late).State; state != jobs.Queued {
			t.Fatalf("the job that was submitted during the drain is %s after %s, want queued", state, after)
		}
	}
	if err := w.Drain(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	w.start()
	stillOut("a restart of the worker")
	if err := f.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := f.redis.Start(); err != nil {
		t.Fatal(err)
	}
	stillOut("a crash of Redis")
	if got := f.enqueue("hosts").stdout; !strings.Contains(got, ": a new disk") {
		t.Errorf("enqueue hosts prints\n%s\nwant the reason", got)
	}
	f.order("resume", "one")
	f.eventually(obeyed, "the job that waited is taken", func() bool { return f.job(late).State != jobs.Queued })
	if job := f.ended(late); job.State != jobs.Succeeded {
		t.Errorf("the job submitted during the drain is %s", job.State)
	}
	f.becomes("one", jobs.HostReady, obeyed)
	clean(t, hostA, before)
}

// What runs for longer than a drain allows is handed back and costs the job nothing, also
// when the worker was killed in between.
func TestHostDrainedForAWhile(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	one := f.worker(hostA, "one")
	const lines = 60
	id := f.submit(append([]string{"--retries", "2", "--init"}, counting(lines, 0)...)...)
	f.said(id, "line 2\n")
	f.worker(hostA, "two")
	given := time.Now()
	f.order("drain", "one", "--timeout", "6s")
	f.becomes("one", jobs.HostDraining, obeyed)
	one.Kill()
	one.start()
	f.eventually(20*time.Second, "the job is handed back", func() bool { return f.job(id).Attempt == 2 })
	if took := time.Since(given); took < 5*time.Second {
		t.Errorf("the job was handed back after %s; want the time of the drain", took)
	}
	job := f.ended(id)
	if job.State != jobs.Succeeded || job.Result.Worker != "two" || job.Attempt != 2 || job.Retries != 0 || job.Losses != 0 {
		t.Errorf("the job is %s after attempt %d, %d retries and %d losses with %+v; want succeeded by two at the second attempt, free of charge",
			job.State, job.Attempt, job.Retries, job.Losses, job.Result)
	}
	starts, dies := events.of(id, "start"), events.of(id, "die")
	if len(starts) != 2 || len(dies) != 2 || starts[1].at().Before(dies[0].at()) {
		t.Fatalf("starts %+v and ends %+v; want the first attempt's end before the second one's start", starts, dies)
	}
	f.endedOnce(job)
	if got := f.enqueue("logs", id).stdout; got != counted(lines) {
		t.Errorf("log:\n%s\nwant every line of the second attempt once", got)
	}
	f.becomes("one", jobs.HostDrained, obeyed)
	clean(t, hostA, before)
}
