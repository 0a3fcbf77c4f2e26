//go:build integration && chaos

package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
)

var brokenJobs = flag.Int("broken.jobs", 15, "how many jobs TestBrokenHost gives to the farm for each fault and each time it comes")

const (
	// brokenWorker and brokenAdmin are those of the host that breaks.
	brokenWorker = "broken"
	brokenAdmin  = "127.0.0.1:18090"
	// unfitWithin is how soon a host has to know that it is broken, and fitWithin that
	// it is mended.
	unfitWithin = 10 * time.Second
	fitWithin   = 45 * time.Second
)

// brokenFarm is a farm with two hosts, of which one breaks.
type brokenFarm struct {
	*farm
	records *records.DB
	// good and bad are what the two daemons did.
	good, bad *dockerEvents
	// ref is a context in the store.
	ref string
}

// Jobs of a farm end as they would on the good host alone when its other host is
// broken from the start, and when it breaks while they run. That one says why it takes
// no jobs, and takes them again when it is mended.
func TestBrokenHost(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	room := mountTmpfs(t, t.TempDir(), "256m")
	bad := hosttest.StartHost(t, "broken", "--data-root", filepath.Join(room, "data"))
	hosttest.Busybox(t, bad)
	for _, tt := range hostFaults(bad, room) {
		t.Run(tt.name, func(t *testing.T) {
			before := [][]string{baseline(t, hostA), baseline(t, bad)}
			f := &brokenFarm{farm: newFarm(t), good: watch(t, hostA), bad: watch(t, bad)}
			f.records = f.farm.records()
			args := []string{"--slots", "4", "--admin", brokenAdmin, "--label", "host=broken", "--docker-patience", "10s"}
			more, breaks, mends := tt.prepare(t, f.farm)
			f.worker(hostA, "good", "--slots", "4")
			f.upload()

			breaks()
			began := time.Now()
			f.worker(bad, brokenWorker, append(args, more...)...)
			f.isUnfit(bad, tt, !tt.unknown, began, "broken from the start")
			ids := f.submitMany(*brokenJobs)
			f.allAsOnGood(ids, 0)
			f.isMended(bad, mends)

			ids = f.submitMany(*brokenJobs)
			f.eventually(time.Minute, "the host that is to break has done some", func() bool {
				return slices.ContainsFunc(ids, func(id string) bool {
					job := f.look(id)
					return job.State.Terminal() && job.Result.Worker == brokenWorker
				})
			})
			breaks()
			f.isUnfit(bad, tt, true, time.Now(), "breaks while jobs run")
			f.allAsOnGood(ids, 1)
			f.isMended(bad, mends)
			clean(t, hostA, before[0])
			clean(t, bad, before[1])
		})
	}
}

// upload puts the context of all builds into the store.
func (f *brokenFarm) upload() {
	f.t.Helper()
	dir := contextDir(f.t, map[string]string{"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nARG N\nRUN echo the step says $N | tee /n\nCMD [\"cat\", \"/n\"]\n"})
	first := f.ended(f.submit("--build-arg", "N="+f.t.Name(), dir))
	if first.State != jobs.Succeeded {
		f.t.Fatalf("the first job is %s: %+v", first.State, first.Result.Failure)
	}
	f.ref = first.Spec.Context.Ref
}

// submitMany submits builds with a step, builds that run, and runs, all with a network.
func (f *brokenFarm) submitMany(n int) []string {
	f.t.Helper()
	var batch strings.Builder
	for i := range n {
		name := fmt.Sprintf("%s-%d-%d", f.t.Name(), time.Now().UnixNano(), i)
		build := jobs.Spec{Name: "", Retries: 3, Context: &jobs.Context{Ref: f.ref}, Build: &jobs.Build{Args: map[string]string{"N": name}}}
		run := jobs.Spec{Retries: 3, Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"sh", "-c", "echo the run says $0; ip route | grep -q default", name}, Network: "bridge"}}
		spec := run
		switch i % 4 {
		case 0:
			spec = build
		case 2:
			spec = build
			spec.Run = &jobs.Run{Network: "bridge"}
		}
		if err := json.NewEncoder(&batch).Encode(spec); err != nil {
			f.t.Fatal(err)
		}
	}
	a := f.enqueueWith([]byte(batch.String()), "submit", "-d", "-q", "--batch", "-")
	ids := strings.Fields(a.stdout)
	if a.code != 0 || len(ids) != n {
		f.t.Fatalf("submit: exit code %d, %d jobs\n%s", a.code, len(ids), a.stderr)
	}
	return ids
}

func (f *brokenFarm) look(id string) jobs.Job {
	f.t.Helper()
	job, err := f.records.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatalf("job %s: %v", id, err)
	}
	return job
}

// allAsOnGood waits for all jobs. Each has to succeed without its own retries, with so
// many losses at most and its log, and no container of it may run twice.
func (f *brokenFarm) allAsOnGood(ids []string, losses int) {
	f.t.Helper()
	began, lost, on := time.Now(), 0, map[string]int{}
	f.eventually(3*time.Minute+time.Duration(len(ids))*5*time.Second, "all jobs end", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !f.look(id).State.Terminal() })
	})
	f.good.settle()
	starts := map[string][]string{}
	for _, e := range append(f.good.all(), f.bad.all()...) {
		if e.Action == "start" {
			starts[e.job()] = append(starts[e.job()], e.attempt())
		}
	}
	for _, id := range ids {
		job := f.look(id)
		on[job.Result.Worker]++
		lost += job.Attempt - 1
		if job.State != jobs.Succeeded || job.Retries != 0 || job.Attempt > 1+losses {
			f.t.Errorf("job %s is %s on %s in attempt %d after %d retries: %+v; before: %+v", id, job.State, job.Result.Worker, job.Attempt, job.Retries, job.Result.Failure, job.Past)
			continue
		}
		if n := len(starts[id]); job.Spec.Run == nil && n != 0 || job.Spec.Run != nil && (n == 0 || n > job.Attempt) || len(slices.Compact(starts[id])) != n {
			f.t.Errorf("the containers of attempts %q of job %s were started; it succeeded in attempt %d", starts[id], id, job.Attempt)
		}
		f.wholeLog(job)
	}
	f.t.Logf("%d jobs succeeded in another %s, on %v; attempts that were lost: %d", len(ids), time.Since(began).Round(100*time.Millisecond), on, lost)
}

// wholeLog checks that the log of a job is what it said, once.
func (f *brokenFarm) wholeLog(job jobs.Job) {
	f.t.Helper()
	if job.Result.Log.Digest == "" {
		f.t.Errorf("job %s has no log", job.ID)
		return
	}
	if job.Spec.Run == nil {
		return
	}
	text, err := f.blobs().Read(f.t.Context(), job.Result.Log.Digest)
	if err != nil {
		f.t.Errorf("the log of job %s: %v", job.ID, err)
		return
	}
	defer text.Close()
	raw, err := io.ReadAll(text)
	var want string
	if job.Spec.Build != nil {
		want = "the step says " + job.Spec.Build.Args["N"]
	} else {
		want = "the run says " + job.Spec.Run.Command[3]
	}
	if err != nil || !strings.Contains(string(raw), want+"\n") {
		f.t.Errorf("the log of job %s, %v, lacks %q:\n%q", job.ID, err, want, raw)
	}
}

// isUnfit waits until the broken host says in all places why it takes no jobs.
func (f *brokenFarm) isUnfit(bad *hosttest.Host, tt hostFault, listed bool, began time.Time, when string) {
	f.t.Helper()
	says := regexp.MustCompile(tt.says)
	var told, ready, metric time.Duration
	reason := ""
	// Each is asked on its own: an answer about a daemon that hangs takes a while.
	var asking sync.WaitGroup
	ask := func(where string, took *time.Duration, is func() bool) {
		asking.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for ; time.Since(began) < 3*unfitWithin; <-tick.C {
				if is() {
					*took = time.Since(began)
					return
				}
			}
			f.t.Errorf("not within %s: %s says that the host is unfit: %s", 3*unfitWithin, where, tt.says)
		})
	}
	ask("/readyz", &ready, func() bool {
		code, body := adminSays(bad, "/readyz")
		return code == http.StatusServiceUnavailable && says.MatchString(body)
	})
	ask("/metrics", &metric, func() bool {
		_, body := adminSays(bad, "/metrics")
		return strings.Contains(body, "\nslipway_host_fit 0\n")
	})
	if !listed {
		asking.Wait()
		f.t.Logf("%s: unfit in /readyz after %s, in the metrics after %s", when, ready, metric)
		if worst := max(ready, metric); worst > unfitWithin {
			f.t.Errorf("that is %s; want at most %s", worst, unfitWithin)
		}
		return
	}
	ask("the registry of hosts", &told, func() bool {
		hosts, _, _ := f.records.Hosts(f.t.Context()) // what stays wrong is told in the end
		for _, h := range hosts {
			if h.Worker == brokenWorker && h.State == jobs.HostUnfit && says.MatchString(h.Reason) {
				reason = h.Reason
				return true
			}
		}
		return false
	})
	asking.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	f.t.Logf("%s: unfit in `enqueue hosts` after %s, in /readyz after %s, in the metrics after %s: %s", when, round(told), round(ready), round(metric), reason)
	if worst := max(told, ready, metric); worst > unfitWithin {
		f.t.Errorf("that is %s; want at most %s", round(worst), unfitWithin)
	}
	if state, said := f.hostState(brokenWorker); state != jobs.HostUnfit || !says.MatchString(said) {
		f.t.Errorf("enqueue hosts says %s, %q", state, said)
	}
	a := f.program(nil, "worker", "doctor", "--name", brokenWorker, "--state", filepath.Join(f.dir, brokenWorker), "--store", tt.store(f.farm), "--docker-host", tt.dockerHost())
	found := ""
	for line := range strings.Lines(a.stdout) {
		if strings.HasPrefix(line, "FAIL") {
			found += line
		}
	}
	f.t.Logf("worker doctor: %s", found)
	if a.code == 0 || !regexp.MustCompile(tt.doctor).MatchString(found) {
		f.t.Errorf("worker doctor: exit code %d, want %q\n%s%s", a.code, tt.doctor, a.stdout, a.stderr)
	}
}

// isMended mends the host, waits until it takes jobs, and gives it some.
func (f *brokenFarm) isMended(bad *hosttest.Host, mends func()) {
	f.t.Helper()
	mends()
	began := time.Now()
	f.eventually(fitWithin, "the mended host is ready", func() bool {
		hosts, _, err := f.records.Hosts(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		code, _ := adminSays(bad, "/readyz")
		return code == http.StatusOK && slices.ContainsFunc(hosts, func(h jobs.Host) bool { return h.Worker == brokenWorker && h.State == jobs.HostReady })
	})
	f.t.Logf("mended: takes jobs again after %s", time.Since(began).Round(10*time.Millisecond))
	job := f.ended(f.submit("--image", hosttest.BusyboxTag, "--requires", "host=broken", "--network", "bridge", "--", "true"))
	if job.State != jobs.Succeeded || job.Attempt != 1 || job.Result.Worker != brokenWorker {
		f.t.Errorf("a job for the mended host is %s on %s in attempt %d: %+v", job.State, job.Result.Worker, job.Attempt, job.Result.Failure)
	}
}

// adminSays asks the worker that breaks for a page; 0 when it does not answer.
func adminSays(h *hosttest.Host, path string) (code int, body string) {
	return adminOf(h.Dial, brokenAdmin, path)
}
