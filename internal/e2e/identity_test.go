//go:build integration

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// shortLease is the shortest that a worker takes.
const shortLease = "--lease=6s"

func (w *workerProcess) state() string { return filepath.Join(w.f.dir, w.Name) }

// identity is the name by which the farm knows the worker's host.
func (w *workerProcess) identity() string {
	w.f.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.state(), "host"))
	if err != nil {
		w.f.t.Fatal(err)
	}
	return string(raw)
}

// copied copies the worker's state directory for another one of that name.
func (w *workerProcess) copied(name string) {
	w.f.t.Helper()
	run(w.f.t, "022", "UTC", "/", "cp", "-a", w.state(), filepath.Join(w.f.dir, name))
}

// hosts are the names of the hosts in the registry, by worker.
func (f *farm) hosts() map[string]string {
	f.t.Helper()
	list, _, err := f.records().Hosts(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	found := map[string]string{}
	for _, h := range list {
		found[h.Worker] = h.Name
	}
	return found
}

// keepsUp submits a service and waits until it is up.
func (f *farm) keepsUp(h *hosttest.Host, keep string) jobs.Job {
	f.t.Helper()
	job := f.ended(f.submit(page("", "--ready-http", "/", "--keep", keep)...))
	f.serves(h, job)
	return job
}

// up lists the containers of a job that run on a host.
func up(t *testing.T, h *hosttest.Host, id string) []string {
	t.Helper()
	return docker(t, h, "ps", "-q", "--filter", "label=slipway.job="+id)
}

// A copy of a state directory beside its original is another host: wherever it is
// started, it takes nothing of the original's.
func TestCloneBesideItsOriginal(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	hostB := hosttest.StartHost(t, "clone")
	hosttest.Busybox(t, hostB)
	for _, tt := range []struct {
		name   string
		host   *hosttest.Host
		inside []string
	}{
		{"on another daemon", hostB, nil},
		{"on the same daemon", hostA, nil},
		// Where it cannot see the original it calls it.
		{"in another container", hostB, []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, beforeB := baseline(t, hostA), baseline(t, hostB)
			events := watch(t, hostA)
			f := newFarm(t)
			one := f.worker(hostA, "one", shortLease)
			service := f.keepsUp(hostA, "1h")
			const lines = 60
			id := f.submit(counting(lines, 0)...)
			f.said(id, "line 5\n")
			one.copied("clone")
			clone := f.workerInside(tt.inside, tt.host, "clone", shortLease)
			if !strings.Contains(clone.Output(), "took a new identity") || clone.identity() == one.identity() {
				t.Errorf("the clone is %s, the original %s; want it to have another identity, and to say so", clone.identity(), one.identity())
			}
			want := map[string]string{"one": one.identity(), "clone": clone.identity()}
			f.eventually(10*time.Second, "both hosts are registered", func() bool { return fmt.Sprint(f.hosts()) == fmt.Sprint(want) })
			job := f.ended(id)
			if job.State != jobs.Succeeded || job.Result.Worker != "one" {
				t.Errorf("the job is %s with %+v; want succeeded by the original", job.State, job.Result)
			}
			f.undisturbed(job, lines)
			events.startedOnce(job)
			if tt.inside == nil {
				clone.stop()
				if got := f.hosts(); len(got) != 1 || got["one"] != one.identity() {
					t.Errorf("hosts %v after the end of the clone; want the original", got)
				}
			} else {
				clone.Kill()
			}
			f.serves(hostA, service)
			if a := f.enqueue("cancel", service.ID); a.code != 0 {
				t.Errorf("cancel the service: %s", a.stderr)
			}
			clean(t, hostA, before)
			clean(t, hostB, beforeB)
		})
	}
}

// A state directory that comes to another daemon is another host there. What it knew
// of the one before is put aside, and nothing of it is done.
func TestStateDirectoryOnAnotherDaemon(t *testing.T) {
	t.Parallel()
	hostB := hosttest.StartHost(t, "moved")
	hosttest.Busybox(t, hostB)
	beforeB := baseline(t, hostB)
	f := newFarm(t)
	one := f.worker(hostB, "one", shortLease)
	was := one.identity()
	id := f.submit(counting(300, 0)...)
	f.said(id, "line 2\n")
	one.Kill()
	hostC := hosttest.StartHost(t, "moved-to")
	hosttest.Busybox(t, hostC)
	one.host = hostC
	one.start()
	if one.identity() == was || !strings.Contains(one.Output(), "the containers of this identity are on another Docker daemon") {
		t.Errorf("identity %s, it was %s; want another one", one.identity(), was)
	}
	if left, err := filepath.Glob(filepath.Join(one.state(), "former", was+"-*", "journal", id+"-a1.json")); err != nil || len(left) != 1 {
		t.Errorf("the journal of %s is at %q, %v; want it put aside", was, left, err)
	}
	if n := f.happened(id, jobs.EventAdopted); n != 0 {
		t.Error("the job was adopted by a host without its container")
	}
	two := f.worker(hostB, "two", shortLease) // the daemon has a worker again
	f.eventually(time.Minute, "what the first host left is gone", func() bool { return len(up(t, hostB, id)) == 0 || f.job(id).Attempt == 2 })
	if a := f.enqueue("cancel", id); a.code != 0 {
		t.Errorf("cancel: %s", a.stderr)
	}
	f.ended(id)
	two.stop()
	clean(t, hostB, beforeB)
}

// A worker that lost its state directory is a new host on its daemon. What the one
// before left ends before its job runs again, and its service ends with it.
func TestStateDirectoryLost(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one", shortLease)
	was := w.identity()
	service := f.keepsUp(hostA, "1h")
	id := f.submit(counting(300, 0)...)
	f.said(id, "line 2\n")
	w.Kill()
	if err := os.RemoveAll(w.state()); err != nil {
		t.Fatal(err)
	}
	w.start()
	f.eventually(40*time.Second, "the job runs again", func() bool { return f.job(id).Attempt == 2 && len(up(t, hostA, id)) == 1 })
	if a := f.enqueue("cancel", id); a.code != 0 {
		t.Errorf("cancel: %s", a.stderr)
	}
	job := f.ended(id)
	starts, dies := events.of(id, "start"), events.of(id, "die")
	if len(starts) != 2 || len(dies) != 2 || dies[0].attempt() != "1" || starts[1].at().Before(dies[0].at()) {
		t.Errorf("starts %+v and ends %+v; want the first attempt's end before the second one's start", starts, dies)
	}
	if job.Attempt != 2 || job.Retries != 0 {
		t.Errorf("the job ended at attempt %d with %d retries; want the second on the farm's account", job.Attempt, job.Retries)
	}
	clean(t, hostA, before)
	if kept, err := f.records().Kept(t.Context(), was); err != nil || len(kept) != 0 {
		t.Errorf("the records keep %v, %v; want no service of job %s", kept, err, service.ID)
	}
}

// The doctor finds what a host left whose state directory is lost, too.
func TestDoctorAfterStateDirectoryLost(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one", shortLease)
	f.keepsUp(hostA, "1h")
	id := f.submit(counting(300, 0)...)
	f.said(id, "line 2\n")
	doctor := func(args ...string) string {
		return f.program(nil, "worker", append([]string{"doctor", "--state", w.state(), "--docker-host", hostA.DockerHost()}, args...)...).stdout
	}
	w.Kill()
	if err := os.RemoveAll(w.state()); err != nil {
		t.Fatal(err)
	}
	f.eventually(time.Minute, "the doctor finds both containers", func() bool {
		return strings.Contains(doctor(), "containers that no job owns: 2")
	})
	if said := doctor("--fix"); !strings.Contains(said, "fixed: removed slipway-") {
		t.Errorf("the doctor says\n%s\nwant both removed", said)
	}
	clean(t, hostA, before)
}

// Two workers on one daemon leave each other alone, and so do two farms of one name.
func TestWorkersShareADaemon(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f, g := newFarm(t), newFarm(t)
	const lines = 75
	var ids []string
	workers := map[string]*workerProcess{}
	for name, farm := range map[string]*farm{"one": f, "two": f, "three": g} {
		workers[name] = farm.worker(hostA, name, shortLease, "--slots=2")
	}
	for _, farm := range []*farm{f, f, f, g} { // more than one worker can take
		ids = append(ids, farm.submit(counting(lines, 0)...))
	}
	service := g.keepsUp(hostA, "1h")
	other := f.keepsUp(hostA, "1h")
	workers["three"].Kill()
	workers["three"].start()
	stopped := workers[other.Result.Worker]
	var at []string
	for i, id := range ids {
		farm := f
		if i == 3 {
			farm = g
		}
		job := farm.ended(id)
		if job.State != jobs.Succeeded {
			t.Errorf("job %s is %s with %+v", id, job.State, job.Result)
			continue
		}
		at = append(at, job.Result.Worker)
		farm.undisturbed(job, lines)
		events.startedOnce(job)
	}
	if slices.Sort(at); len(slices.Compact(slices.Clone(at))) != 3 {
		t.Errorf("the jobs ran at %q; want all workers to have had some", at)
	}
	// The service of a worker that was stopped stays for its time, also beside
	// another worker that is at work.
	stopped.stop()
	g.serves(hostA, service)
	f.ended(f.submit(counting(60, 0)...)) // for two leases
	f.serves(hostA, other)
	g.serves(hostA, service)
	stopped.start()
	for farm, job := range map[*farm]jobs.Job{f: other, g: service} {
		if a := farm.enqueue("cancel", job.ID); a.code != 0 {
			t.Errorf("cancel the service: %s", a.stderr)
		}
	}
	clean(t, hostA, before)
}
