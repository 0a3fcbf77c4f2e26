//go:build integration

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// keepLag is how long after its time a service may be gone: the keeper looks
// every 5 s, and the container may take a moment to end.
const keepLag = 8 * time.Second

// page is a service that serves one page, after it has run the shell commands
// in first. flags are those of submit.
func page(first string, flags ...string) []string {
	script := first + `mkdir /www && echo hello from the service > /www/index.html && exec httpd -f -p 8080 -h /www`
	return append(flags, "--image", hosttest.BusyboxTag, "-p", "8080", "--stop-timeout", "1", "--", "sh", "-c", script)
}

// get fetches a page from inside the host's network namespace.
func get(t *testing.T, h *hosttest.Host, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("get %s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

// serves checks that the job's service is up where the record says.
func (f *farm) serves(h *hosttest.Host, job jobs.Job) {
	f.t.Helper()
	r := job.Result
	if job.State != jobs.Succeeded || r.KeepUntil.IsZero() || len(r.Addresses) != 1 || !strings.HasPrefix(r.Addresses[0], "127.0.0.1:") {
		f.t.Fatalf("the job is %s with %+v; want a kept service with its address on loopback", job.State, r)
	}
	if got := get(f.t, h, "http://"+r.Addresses[0]+"/"); got != "hello from the service\n" {
		f.t.Errorf("the service says %q", got)
	}
}

// A service ends by itself when its time is over, and its job stays succeeded.
func TestServiceEndsInTime(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	job := f.ended(f.submit(page("", "--ready-http", "/", "--keep", "4s")...))
	f.serves(hostA, job)
	events.await("the end of the service", func(e happening) bool { return e.job() == job.ID && e.Action == "destroy" })
	f.goneInTime(events, job)
	f.endedOnce(job)
	f.service(job.ID, "expired")
	clean(t, hostA, before)
}

// service waits until the end of the job's service is recorded, and checks what became
// of it.
func (f *farm) service(id, want string) jobs.Job {
	f.t.Helper()
	var job jobs.Job
	f.eventually(20*time.Second, "the end of the service is recorded", func() bool {
		job = f.job(id)
		return !job.Up()
	})
	if s := job.Result.Service; job.State != jobs.Succeeded || s == nil || s.String() != want || s.Ended.Before(job.Finished) {
		f.t.Errorf("the job is %s, its service %+v; want it succeeded, and %q", job.State, s, want)
	}
	if n := f.happened(id, jobs.EventServiceEnded); n != 1 {
		f.t.Errorf("the service of job %s ended %d times", id, n)
	}
	return job
}

// A service stays in sight: its log goes on while it is up, it is listed with where it
// is, and in the end with what became of it.
func TestServiceInSight(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	const script = "httpd -p 80; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo last words; exit 9"
	id := f.submit("--image", hosttest.BusyboxTag, "-p", "80", "--keep", "10m", "--", "sh", "-c", "echo first words; "+script)
	early := f.follow(id) // before it is ready
	job := f.ended(id)
	if job.State != jobs.Succeeded || !job.Up() || len(job.Result.Addresses) != 1 {
		t.Fatalf("the job is %s with %+v; want a service that is up", job.State, job.Result)
	}
	early.until("first words\n")
	late := f.follow(id)
	late.until("first words\n")
	where := "http://" + job.Result.Addresses[0] + "/ on one"
	if up := f.enqueue("ls", "--up").stdout; !strings.Contains(up, id) || !strings.Contains(up, where) {
		t.Errorf("ls --up lacks the service at %q:\n%s", where, up)
	}
	if status := f.enqueue("status", id).stdout; !strings.Contains(status, "service    up\n") || !strings.Contains(status, where+"\n") {
		t.Errorf("status of a service that is up:\n%s", status)
	}
	if soFar := f.enqueue("logs", id); soFar.stdout != "first words\n" || soFar.stderr != "" {
		t.Errorf("the log so far is %q, %q", soFar.stdout, soFar.stderr)
	}
	docker(t, hostA, "exec", jobs.ContainerName(id, 1), "touch", "/tmp/go")
	for _, one := range []*follower{early, late} {
		a := one.end()
		// One that is late finds in the result how the service has ended.
		if a.code != 0 || a.stdout != "first words\nlast words\n" || !strings.Contains(a.stderr, "ended with exit code 9") {
			t.Errorf("logs -f ended with %d: %q, %q", a.code, a.stdout, a.stderr)
		}
	}
	job = f.service(id, "ended with exit code 9")
	if got := string(f.stored(job).stdout); got != "first words\nlast words\n" {
		t.Errorf("the stored log is %q", got)
	}
	if status := f.enqueue("status", id).stdout; !strings.Contains(status, "service    ended with exit code 9 (") || strings.Contains(status, "kept until") || strings.Contains(status, "http://") {
		t.Errorf("status of a service that is over:\n%s", status)
	}
	if a := f.enqueue("ls", "--up"); a.stdout != "No service is up.\n" {
		t.Errorf("ls --up: %q", a.stdout)
	}
	if a := f.enqueue("cancel", id); a.code != jobs.ExitUsage || !strings.Contains(a.stderr, "is over already: ended with exit code 9") {
		t.Errorf("cancel: exit code %d\n%s", a.code, a.stderr)
	}
	clean(t, hostA, before)
	f.noSpools("one")
}

// A worker that is killed and comes back, and one that makes way for the next, go on
// with the log of a service byte for byte; one that was away when it ended says so.
func TestServiceAcrossWorkers(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	const lines = 60
	script := fmt.Sprintf("for i in $(seq %d); do echo line $i; sleep 0.15; done; echo to stderr >&2; exit 3", lines)
	id := f.submit("--image", hosttest.BusyboxTag, "--keep", "10m", "--", "sh", "-c", script)
	follows := f.follow(id)
	f.ended(id)
	f.said(id, "line 5\n")
	w.Kill()
	f.eventually(10*time.Second, "it prints while no worker is there", func() bool {
		return strings.Contains(strings.Join(docker(t, hostA, "logs", "--tail", "1", jobs.ContainerName(id, 1)), ""), "line 2")
	})
	w.start()
	f.said(id, "line 30\n")
	if a := f.program(nil, "worker", "drain", "--adopt", "--state", filepath.Join(f.dir, "one")); a.code != 0 {
		t.Errorf("drain: exit code %d\n%s", a.code, a.stderr)
	}
	<-w.Ended()
	w.start()
	a := follows.end()
	if a.code != 0 || a.stdout != counted(lines) || strings.Contains(a.stderr, "gap") {
		t.Errorf("logs -f ended with %d:\n%s\n%s\nwant every line once", a.code, a.stdout, a.stderr)
	}
	job := f.service(id, "ended with exit code 3")
	got := f.stored(job)
	if string(got.stdout) != counted(lines) || string(got.stderr) != "to stderr\n" || got.notes != "" {
		t.Errorf("the stored log is %q, %q, notes %q; want every line once", got.stdout, got.stderr, got.notes)
	}
	events.startedOnce(job)

	away := f.submit("--image", hosttest.BusyboxTag, "--keep", "10m", "--", "sh", "-c", "echo up; sleep 2; echo down; exit 4")
	f.ended(away)
	w.Kill()
	var died time.Time
	events.await("the end of the container", func(e happening) bool { died = e.at(); return e.job() == away && e.Action == "die" })
	if !f.job(away).Up() {
		t.Error("the service is not up though no worker was there to tell")
	}
	w.start()
	job = f.service(away, "ended with exit code 4")
	if off := job.Result.Service.Ended.Sub(died).Abs(); off > time.Second {
		t.Errorf("it ended at %s, and is said to have at %s", died, job.Result.Service.Ended)
	}
	if got := string(f.stored(job).stdout); got != "up\ndown\n" {
		t.Errorf("the stored log is %q", got)
	}
	clean(t, hostA, before)
	f.noSpools("one")
}

// goneInTime checks that the one container of the service went when its time
// was over, neither before nor long after.
func (f *farm) goneInTime(events *dockerEvents, job jobs.Job) {
	f.t.Helper()
	events.startedOnce(job)
	until := job.Result.KeepUntil
	for _, e := range events.of(job.ID, "die") {
		if e.at().Before(until) || e.at().After(until.Add(keepLag)) {
			f.t.Errorf("the service ended at %s, it was to be kept until %s", e.at(), until)
		}
	}
}

// Cancelling the job of a kept service ends the service. This one is ready when
// it accepts connections, which is some time after Docker's proxy does.
func TestServiceCancel(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	job := f.ended(f.submit(page("sleep 1; ", "--ready-tcp", "--keep", "1h")...))
	f.serves(hostA, job)
	cancelled := time.Now()
	if a := f.enqueue("cancel", job.ID); a.code != 0 || !strings.Contains(a.stdout, "its service is being ended") {
		t.Errorf("cancel: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	clean(t, hostA, before)
	if took := time.Since(cancelled); took > keepLag {
		t.Errorf("the service was gone after %s", took)
	}
	if again := f.job(job.ID); again.State != jobs.Succeeded {
		t.Errorf("the job is %s, want it to stay succeeded", again.State)
	}
	if s := f.service(job.ID, "cancelled by "+f.job(job.ID).CancelBy).Result.Service; s.CancelledBy == "" || s.ExitCode == nil {
		t.Errorf("service %+v; want who cancelled it and its exit code", s)
	}
	if code := f.enqueue("cancel", job.ID).code; code != jobs.ExitUsage {
		t.Errorf("cancel once more: exit code %d, want %d", code, jobs.ExitUsage)
	}
}

// Where ports are bound to all addresses, the result names the host as the operator does,
// and the worker asks at the port itself whether the service is ready.
func TestServiceAddress(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--port-address", "0.0.0.0", "--advertise-address", "anvil.example.com")
	job := f.ended(f.submit(page("", "--ready-http", "/", "--keep", "1h")...))
	if job.State != jobs.Succeeded || len(job.Result.Addresses) != 1 {
		t.Fatalf("the job is %s with %+v; want a service with its address", job.State, job.Result)
	}
	addr := job.Result.Addresses[0]
	port, advertised := strings.CutPrefix(addr, "anvil.example.com:")
	if !advertised || get(t, hostA, "http://127.0.0.1:"+port+"/") != "hello from the service\n" {
		t.Errorf("the address is %s; want the advertised host and the port of the service", addr)
	}
	if status := f.enqueue("status", job.ID).stdout; !strings.Contains(status, "address    http://"+addr+"/\n") {
		t.Errorf("status lacks http://%s/ alone:\n%s", addr, status)
	}
	f.enqueue("cancel", job.ID)
	clean(t, hostA, before)
}

// A service that ends before it is ready is no service; its last words say why.
func TestServiceNotReady(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	a := f.enqueue("submit", "--image", hosttest.BusyboxTag, "-p", "8080", "--keep", "1h", "--", "sh", "-c",
		"echo reading the settings; echo there are none >&2; exit 3")
	if a.code != jobs.ExitFailed || !strings.Contains(a.stderr, "the service ended with exit code 3 before it was ready") {
		t.Errorf("exit code %d\n%s", a.code, a.stderr)
	}
	job := f.job(strings.TrimSpace(f.enqueue("ls", "-o", "name").stdout))
	r := job.Result
	if job.State != jobs.Failed || r.Failure.Kind != jobs.KindNotReady || r.Failure.Stage != jobs.StageRun || r.ExitCode == nil || *r.ExitCode != 3 {
		t.Fatalf("the job is %s with %+v; want not_ready with exit code 3", job.State, r)
	}
	tail := slices.Sorted(slices.Values(r.Failure.Tail)) // the two streams have no order
	if !slices.Equal(tail, []string{"reading the settings", "there are none"}) || r.Failure.Hint == "" {
		t.Errorf("failure %+v; want both lines and a hint", r.Failure)
	}
	clean(t, hostA, before)
}

// A kept service outlives its worker, and the next one ends it in time.
// A service is ready when the HEALTHCHECK of its image says so, and not before.
func TestServiceHealth(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	image := func(check string) string {
		return contextDir(t, map[string]string{"Dockerfile": "FROM busybox\n" + check + "\nCMD sleep 1; echo is here; touch /ok; sleep 600\n"})
	}
	asked := []string{"--keep", "1h", "--ready-health", "--stop-timeout", "1"}
	up, a := f.run(append(asked, image("HEALTHCHECK --interval=300ms --retries=100 CMD ls /ok"))...)
	if !up.Up() || !strings.Contains(f.enqueue("logs", up.ID).stdout, "is here") {
		t.Errorf("the service is %s, %+v\n%s", up.State, up.Result.Failure, a.stderr)
	}
	f.enqueue("cancel", up.ID)
	for check, want := range map[string]string{
		"HEALTHCHECK --interval=300ms --retries=2 CMD echo the cache is cold; exit 1": "is unhealthy",
		"": "has no HEALTHCHECK",
	} {
		job, a := f.run(append(asked, image(check))...)
		fail := job.Result.Failure
		if job.State != jobs.Failed || fail.Kind != jobs.KindNotReady || !strings.Contains(fail.Message, want) || check != "" && fail.Cause != "the cache is cold" {
			t.Errorf("%q: the job is %s, %+v; want it %q\n%s", check, job.State, fail, want, a.stderr)
		}
	}
	f.eventually(time.Minute, "the service is over", func() bool { return !f.job(up.ID).Up() })
	clean(t, hostA, before)
}

func TestServiceOutlivesWorker(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	job := f.ended(f.submit(page("", "--ready-http", "/", "--keep", "12s")...))
	f.serves(hostA, job)
	w.Kill()
	f.serves(hostA, job)
	w.start()
	f.serves(hostA, job)
	w.stop() // an orderly end leaves it, too
	f.serves(hostA, job)
	w.start()
	f.serves(hostA, job)
	events.await("the end of the service", func(e happening) bool { return e.job() == job.ID && e.Action == "destroy" })
	f.goneInTime(events, job)
	clean(t, hostA, before)
}
