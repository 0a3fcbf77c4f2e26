package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

func TestRun(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	job := f.ended(f.submit(shell("echo out; echo err >&2")))
	r := job.Result
	if job.State != jobs.Succeeded || *r.ExitCode != 0 || r.ContainerID == "" || r.ImageID == "" || r.Worker != "one" || r.Engine != "fake 1.0" {
		t.Errorf("result %+v; want success with image, container, worker and engine", r)
	}
	if log := f.log(job); log[jobs.Stdout] != "out\n" || log[jobs.Stderr] != "err\n" {
		t.Errorf("log %q", log)
	}
	f.empty()
}

func TestBuildAndRun(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\nRUN echo building\nCMD [\"echo\", \"hi\"]\n"
	f.start()
	spec := jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}, Run: &jobs.Run{}}
	job := f.ended(f.submit(spec))
	if job.State != jobs.Succeeded || len(job.Result.Bases) != 1 || f.log(job)[jobs.Stdout] != "hi\n" {
		t.Fatalf("result %+v, log %q", job.Result, f.log(job))
	}
	if !strings.Contains(f.log(job)[jobs.BuildStatus], `"vertexes"`) {
		t.Errorf("the build's status is not in the log: %q", f.log(job)[jobs.BuildStatus])
	}
	f.empty()
	f.eventually("the untagged image is gone", func() bool { return !f.engine.HasImage(job.Result.ImageID) })

	spec.Build.Tags, spec.Build.Push = []string{"registry.example.com/app:1"}, true
	job = f.ended(f.submit(spec))
	if job.State != jobs.Succeeded || len(job.Result.RepoDigests) != 1 || job.Result.RepoDigests[0] != f.engine.Pushed("registry.example.com/app:1") {
		t.Errorf("result %+v; want the pushed digest", job.Result)
	}
	if !f.engine.HasImage(job.Result.ImageID) {
		t.Error("a tagged image is gone")
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	build := jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}}
	const short = 200 * time.Millisecond
	tests := []struct {
		name       string
		dockerfile string
		spec       jobs.Spec
		state      jobs.State
		stage      jobs.Stage
		kind       jobs.Kind
		text       string
	}{
		{"exit code", "", shell("echo last words; exit 7"), jobs.Failed, jobs.StageRun, jobs.KindExitNonzero, "exit code 7"},
		{"out of memory", "", shell("oom"), jobs.Failed, jobs.StageRun, jobs.KindOOM, "memory limit of 2GiB"},
		{"no such image", "", jobs.Spec{Run: &jobs.Run{Image: "nosuch"}}, jobs.Failed, jobs.StageRun, jobs.KindImageMissing, "nosuch"},
		{"no such command", "", jobs.Spec{Run: &jobs.Run{Image: "busybox", Command: []string{"nosuch"}}}, jobs.Failed, jobs.StageRun, jobs.KindCommandNotFound, ""},
		{"run timeout", "", shell("sleep 60"), jobs.Failed, jobs.StageRun, jobs.KindTimeout, "longer than 200ms"},
		{"idle timeout", "", shell("echo x; sleep 60"), jobs.Failed, jobs.StageRun, jobs.KindIdleTimeout, "nothing for 200ms"},
		{"dockerfile", "FROM busybox\nRUNN true\n", build, jobs.Refused, jobs.StageBuild, jobs.KindDockerfileInvalid, "RUNN"},
		{"build step", "FROM busybox\nRUN exit 3\n", build, jobs.Failed, jobs.StageBuild, jobs.KindBuildFailed, "exit code 3"},
		{"base", "FROM nosuch\n", build, jobs.Failed, jobs.StageBuild, jobs.KindBaseMissing, "nosuch"},
		{"build timeout", "FROM busybox\nRUN sleep 60\n", build, jobs.Failed, jobs.StageBuild, jobs.KindTimeout, "longer than 200ms"},
		{"secret", "FROM busybox\n", jobs.Spec{Context: build.Context, Build: &jobs.Build{Secrets: []jobs.Secret{{ID: "token"}}}}, jobs.Refused, jobs.StageBuild, jobs.KindSecretNotFound, "token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			f.files["Dockerfile"] = tt.dockerfile
			f.start(func(o *worker.Options) {
				switch tt.name { // shorter than a document may ask for
				case "run timeout":
					o.Timeouts.Run = jobs.Duration(short)
				case "idle timeout":
					o.Timeouts.Idle = jobs.Duration(short)
				case "build timeout":
					o.Timeouts.Build = jobs.Duration(short)
				}
			})
			spec := tt.spec
			if spec.Run != nil {
				run := *spec.Run
				run.StopGrace = jobs.Duration(time.Second)
				spec.Run = &run
			}
			wantFailure(t, f.ended(f.submit(spec)), tt.state, tt.stage, tt.kind, tt.text)
			f.empty()
		})
	}
}

func TestFailureQuotesTheLastOutput(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	job := f.ended(f.submit(shell("echo one; echo two; exit 1")))
	if got := strings.Join(job.Result.Failure.Tail, "|"); got != "one|two" {
		t.Errorf("tail %q; want one|two", got)
	}
}

// An error of the context is the context's, whatever the engine makes of it.
func TestContextErrorIsAFetchFailure(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.fetch = func(context.Context, jobs.Context) (io.ReadCloser, error) {
		return io.NopCloser(failingReader{jobs.Fail(jobs.KindContextDigest, nil, "", "want sha256:a, got sha256:b")}), nil
	}
	f.start()
	job := f.ended(f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}}))
	wantFailure(t, job, jobs.Refused, jobs.StageFetch, jobs.KindContextDigest, "want sha256:a")
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestUserRetries(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	spec := shell("exit 1")
	spec.Retries = 1
	id := f.submit(spec)
	f.eventually("the job waits for its retry", func() bool { return f.job(id).Attempt == 2 })
	f.queue.Advance(time.Minute)
	f.memory.Advance(time.Minute)
	job := f.ended(id)
	if job.State != jobs.Failed || job.Attempt != 2 || job.Retries != 1 || job.Result.Attempt != 2 {
		t.Errorf("job %+v; want it failed in attempt 2 with one retry spent", job)
	}
	f.empty()
}

func TestCancel(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	spec := shell("echo started; sleep 60")
	spec.Run.StopGrace = jobs.Duration(time.Second)
	id := f.submit(spec)
	f.containerRuns(id)
	if _, err := f.svc.Cancel(t.Context(), id, "an operator"); err != nil {
		t.Fatal(err)
	}
	job := f.ended(id)
	wantFailure(t, job, jobs.Cancelled, jobs.StageRun, jobs.KindCancelled, "cancelled by an operator")
	if f.log(job)[jobs.Stdout] != "started\n" {
		t.Errorf("log %q; want what was printed before", f.log(job))
	}
	f.empty()
}

// crashedJob is a job whose worker ended without a trace right after it started
// the container and spooled the first output.
func (f *farm) crashedJob(spec jobs.Spec) (id, container string) {
	f.t.Helper()
	ctx := f.t.Context()
	id = f.submit(spec)
	ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
	o := jobs.Owner{Worker: "one", Host: "host-1", Nonce: "dead", Lease: time.Hour}
	job, err := f.memory.Claim(ctx, ticket, o)
	if err != nil {
		f.t.Fatal(err)
	}
	name := jobs.ContainerName(id, 1)
	made, err := f.engine.Create(ctx, engineContainer(name, id, job.Spec))
	if err != nil {
		f.t.Fatal(err)
	}
	container = made.ID
	progress := jobs.Progress{Stage: jobs.StageRun, Container: jobs.Container{Name: name, ID: container}, RunTimeout: time.Hour}
	if err := f.memory.Note(ctx, id, "dead", progress); err != nil {
		f.t.Fatal(err)
	}
	f.spoolFirstLine(id, container)
	return id, container
}

func TestKeptService(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	job := f.ended(f.submit(f.service("echo up; httpd-ok")))
	r := job.Result
	if job.State != jobs.Succeeded || len(r.Addresses) != 1 || r.KeepUntil.IsZero() || len(f.engine.Containers()) != 1 {
		t.Fatalf("result %+v; want a running service with its address", r)
	}
	if _, err := f.svc.Cancel(t.Context(), job.ID, "an operator"); err != nil {
		t.Fatal(err)
	}
	f.empty()
	if job := f.job(job.ID); job.State != jobs.Succeeded {
		t.Errorf("job is %s; want it succeeded still", job.State)
	}

	id := f.submit(f.service("echo oh no; exit 4"))
	wantFailure(t, f.ended(id), jobs.Failed, jobs.StageRun, jobs.KindNotReady, "exit code 4")
	f.empty()
}

func (f *farm) service(command string) jobs.Spec {
	spec := shell(command)
	spec.Run.Ports = []jobs.Port{{Container: 8080}}
	spec.Run.Ready = &jobs.Ready{HTTP: "/", Port: 8080, Timeout: jobs.Duration(10 * time.Second)}
	spec.Run.Keep = jobs.Duration(time.Hour)
	spec.Run.StopGrace = jobs.Duration(time.Second)
	return spec
}

// A result survives that Redis is away when it comes.
func TestResultOutlastsTheStore(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	id := f.submit(shell("sleep 0.2; echo done"))
	f.containerRuns(id)
	f.memory.Break(errors.New("connection refused"))
	f.eventually("the container ends", func() bool { return f.engine.Containers()[0].Status == "exited" })
	f.memory.Break(nil)
	if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 1 {
		t.Errorf("job is %s in attempt %d; want it finished once", job.State, job.Attempt)
	}
	f.empty()
}

func TestLogOverItsLimit(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start(func(o *worker.Options) { o.LogCap = 256 << 10 })
	job := f.ended(f.submit(shell("echo first; head -c 1000000 /dev/zero; echo last")))
	log := f.log(job)
	got := log[jobs.Stdout]
	if !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, "last\n") || !strings.Contains(log[jobs.Note], "left out") {
		t.Errorf("log of %d bytes, note %q; want its beginning, its end and a marker", len(got), log[jobs.Note])
	}
	if total := int64(len(got)) + job.Result.Log.Dropped; total != 1000011 || job.Result.Log.Size > 300<<10 {
		t.Errorf("%d bytes kept and %d dropped make %d; want 1000011, within the limit", len(got), job.Result.Log.Dropped, total)
	}
}

func TestSecretsComeFromTheirDirectory(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "api"), []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(func(o *worker.Options) { o.SecretsDir = dir })
	spec := jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{Secrets: []jobs.Secret{{ID: "token", Name: "api"}}}}
	if job := f.ended(f.submit(spec)); job.State != jobs.Succeeded {
		t.Errorf("job is %s: %+v", job.State, job.Result.Failure)
	}
}

// An engine that went away fails one attempt, not one job after the other.
func TestNoJobsWithoutAnEngine(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	f.ended(f.submit(shell("true"))) // the worker is up
	f.engine.SetDown(true)
	id := f.submit(shell("echo hi"))
	// A worker that looks at its engine first loses none.
	f.eventually("the first attempt is lost, or the worker has seen it", func() bool { return f.job(id).Losses == 1 || w.Unfit() != nil })
	f.queue.Advance(time.Minute)
	f.memory.Advance(time.Minute)
	second := f.submit(shell("echo hi"))
	f.eventually("the worker says that it is unfit", func() bool { return w.Unfit() != nil })
	time.Sleep(100 * time.Millisecond) // in which it looks at the engine again
	if job := f.job(second); job.Losses != 0 || job.State != jobs.Queued {
		t.Errorf("job is %s after %d losses; want it untouched while the engine is away", job.State, job.Losses)
	}
	f.engine.SetDown(false)
	for _, id := range []string{id, second} {
		if job := f.ended(id); job.State != jobs.Succeeded {
			t.Errorf("job is %s: %+v", job.State, job.Result.Failure)
		}
	}
}

// runs reports whether a container has started and not ended.
func (f *farm) runs(container string) bool {
	state, err := f.engine.Inspect(f.t.Context(), container)
	return err == nil && state.Status == engine.StatusRunning
}

// journaled writes what a dead worker knew of the first attempt at a job, whose
// lease holds for so long; more are further fields.
func (f *farm) journaled(id string, held time.Duration, more ...string) {
	f.t.Helper()
	dir := filepath.Join(f.state, "journal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	entry := fmt.Sprintf(`{"job":%q,"attempt":1,"nonce":"dead","lease_until":%d%s}`, id, held, strings.Join(more, ""))
	if err := os.WriteFile(filepath.Join(dir, id+"-a1.json"), []byte(entry), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// A host that is short of room takes no jobs, says why, and recovers by itself;
// what fails on it meanwhile is the farm's fault.
func TestShortOfRoom(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var short atomic.Bool
	f.room = func() error {
		if short.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}
	w := f.start()
	id := f.submit(shell("sleep 0.3; exit 1"))
	f.containerRuns(id)
	short.Store(true)
	f.eventually("the job waits for another attempt", func() bool { return f.job(id).Attempt == 2 })
	if job := f.job(id); job.Losses != 1 || job.Retries != 0 {
		t.Errorf("job has %d losses and %d retries, want the loss", job.Losses, job.Retries)
	}
	f.eventually("the worker says that it is unfit", func() bool { return w.Unfit() != nil })
	f.memory.Advance(time.Minute)
	f.queue.Advance(time.Minute)
	time.Sleep(50 * time.Millisecond)
	if job := f.job(id); job.State == jobs.Running {
		t.Errorf("job is %s on a full disk", job.State)
	}
	short.Store(false)
	if job := f.ended(id); job.Result.Failure == nil || job.Result.Failure.Kind != jobs.KindExitNonzero {
		t.Errorf("job is %s, %+v; want its own exit code once there is room", job.State, job.Result.Failure)
	}
}

// An engine that failed a job has to make a container before it gets the next.
func TestEngineProvesItself(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var broken atomic.Bool
	broken.Store(true)
	f.engine.Hook(func(_ context.Context, op, _ string) error {
		if op == "create" && broken.Load() {
			return jobs.Fail(jobs.KindEngine, nil, "", "no containers today")
		}
		return nil
	})
	f.probe = func(context.Context, map[string]string) error {
		if broken.Load() {
			return errors.New("no containers today")
		}
		return nil
	}
	w := f.start()
	first, second := f.submit(shell("true")), f.submit(shell("true"))
	f.eventually("the worker says that it is unfit", func() bool {
		return w.Unfit() != nil && strings.Contains(w.Unfit().Error(), "no containers today")
	})
	for range 3 { // a job is given no third chance to fail here
		f.memory.Advance(time.Minute)
		f.queue.Advance(time.Minute)
		time.Sleep(20 * time.Millisecond)
	}
	broken.Store(false)
	for _, id := range []string{first, second} {
		if job := f.ended(id); job.State != jobs.Succeeded || job.Losses > 1 {
			t.Errorf("job is %s after %d losses; want it to succeed after at most one", job.State, job.Losses)
		}
	}
}
