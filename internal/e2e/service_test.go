//go:build integration

package e2e_test

import (
	"context"
	"io"
	"net/http"
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
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	job := f.ended(f.submit(page("", "--ready-http", "/", "--keep", "4s")...))
	f.serves(hostA, job)
	events.await("the end of the service", func(e happening) bool { return e.job() == job.ID && e.Action == "destroy" })
	f.goneInTime(events, job)
	f.endedOnce(job)
	clean(t, hostA, before)
}

// goneInTime checks that the one container of the service went when its time
// was over, neither before nor long after.
func (f *farm) goneInTime(events *ledger, job jobs.Job) {
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
	f.eventually(5*time.Second, "there is nothing to cancel any more", func() bool { return f.enqueue("cancel", job.ID).code == jobs.ExitUsage })
}

// A service that ends before it is ready is no service; its last words say why.
func TestServiceNotReady(t *testing.T) {
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
func TestServiceOutlivesWorker(t *testing.T) {
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	job := f.ended(f.submit(page("", "--ready-http", "/", "--keep", "12s")...))
	f.serves(hostA, job)
	w.kill()
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
