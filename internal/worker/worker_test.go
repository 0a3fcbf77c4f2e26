package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/faults"
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

func TestDrainLetsJobsFinish(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	id := f.submit(shell("sleep 0.3; echo done"))
	f.containerRuns(id)
	w.stop()
	w.end(t)
	if job := f.job(id); job.State != jobs.Succeeded || job.Attempt != 1 {
		t.Errorf("job is %s in attempt %d; want it finished", job.State, job.Attempt)
	}
}

func TestHurriedDrainHandsBack(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	spec := shell("sleep 60")
	spec.Run.StopGrace = jobs.Duration(time.Second)
	id := f.submit(spec)
	f.containerRuns(id)
	w.stop()
	w.hurry()
	w.end(t)
	if job := f.job(id); job.State != jobs.Queued || job.Attempt != 2 || job.Retries != 0 || job.Losses != 0 {
		t.Errorf("job %+v; want it queued for attempt 2 at nobody's expense", job)
	}
	f.empty()
	if f.queue.Len() != 1 {
		t.Errorf("%d tickets; want one for the next worker", f.queue.Len())
	}
}

// A worker whose job was given away stops its own container.
func TestLostLeaseEndsTheContainer(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.start()
	spec := shell("sleep 60")
	spec.Run.StopGrace = jobs.Duration(time.Second)
	id := f.submit(spec)
	f.containerRuns(id)
	// Another incarnation of the host takes it over.
	_, err := f.memory.Adopt(t.Context(), id, jobs.Owner{Worker: "other", Host: "host-1", Nonce: "other", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f.empty()
	if job := f.job(id); job.State != jobs.Running || job.Worker != "other" {
		t.Errorf("job is %s at %s; want it untouched", job.State, job.Worker)
	}
}

// What an earlier incarnation of the host left behind is adopted, collected or
// started again, and never doubled.
func TestAdopt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		command string
		crashed func(f *farm, container string) // what happens while no worker is there
		state   jobs.State
		attempt int
		stdout  string
	}{
		{"running", "echo a; sleep 0.3; echo b", func(*farm, string) {}, jobs.Succeeded, 1, "a\nb\n"},
		{"exited meanwhile", "echo a; sleep 0.1; echo b; exit 3", func(f *farm, id string) {
			f.eventually("the container ends", func() bool { return f.engine.Containers()[0].Status == "exited" })
		}, jobs.Failed, 1, "a\nb\n"},
		{"gone", "echo a; sleep 0.3; echo b", func(f *farm, id string) { f.engine.Lose(id) }, jobs.Succeeded, 2, "a\nb\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			id, container := f.crashedJob(shell(tt.command))
			tt.crashed(f, container)
			f.start()
			f.eventually("the attempt is over", func() bool {
				job := f.job(id)
				return job.State.Terminal() || job.Attempt == 2
			})
			f.queue.Advance(time.Minute)
			f.memory.Advance(time.Minute)
			job := f.ended(id)
			if job.State != tt.state || job.Attempt != tt.attempt || job.Retries != 0 {
				t.Errorf("job is %s in attempt %d, %d retries, %+v; want %s in %d", job.State, job.Attempt, job.Retries, job.Result.Failure, tt.state, tt.attempt)
			}
			if got := f.log(job)[jobs.Stdout]; got != tt.stdout {
				t.Errorf("log %q; want %q, each byte once", got, tt.stdout)
			}
			f.empty()
		})
	}
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

func TestStraysAreRemoved(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	stray := engineContainer(jobs.ContainerName("gone", 1), "gone", shell("sleep 60"))
	if _, err := f.engine.Create(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	foreign := engineContainer("somebody-elses", "gone", shell("sleep 60"))
	if _, err := f.engine.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	image, err := f.engine.Build(t.Context(), engine.Build{
		Name:    jobs.ImageName("default", "gone", 1),
		Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", "FROM busybox\n")),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.start()
	f.eventually("only the container that is not ours is left", func() bool {
		left := f.engine.Containers()
		return len(left) == 1 && left[0].Name == "somebody-elses"
	})
	f.eventually("the image that only we had a name for is gone", func() bool { return !f.engine.HasImage(image.ImageID) })
}

func TestStraysAreRemovedByAWorkerThatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.start()
		time.Sleep(time.Minute)
		if _, err := f.engine.Create(t.Context(), engineContainer(jobs.ContainerName("gone", 1), "gone", shell("true"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		if left := f.engine.Containers(); len(left) > 0 {
			t.Errorf("%s is left", left[0].Name)
		}
	})
}

// An engine that dies between making an image and naming it, or between taking its
// name and removing it, leaves one without a name. What was there before, or has
// lost its name to the operator, is no such image.
func TestNamelessImagesAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.files["Dockerfile"] = "FROM scratch\nCOPY Dockerfile /\n"
		theirs := f.engine.AddUntagged("theirs")
		var made string
		f.engine.Hook(func(_ context.Context, op, ref string) error {
			switch {
			case op == "removeimage" && ref == jobs.ImageName("default", "job-00000001", 1):
				f.engine.Untag(ref)
				return errors.New("the engine died")
			case op == "build" && made == "":
				made = f.engine.AddUntagged("made")
				return jobs.Fail(jobs.KindDaemonLost, nil, "", "the engine died")
			}
			return nil
		})
		f.start()
		cut := f.ended(f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}}))
		time.Sleep(10 * time.Minute)
		for id, want := range map[string]bool{cut.Result.ImageID: false, made: false, theirs: true} {
			if f.engine.HasImage(id) != want {
				t.Errorf("image %s is there: %v, want %v", id, !want, want)
			}
		}
	})
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
	f.eventually("the first attempt is lost", func() bool { return f.job(id).Losses == 1 })
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

// A verdict that Redis could not be told survives the process and is
// reported under its own nonce, so that the work is not done again.
func TestVerdictOutlastsTheWorker(t *testing.T) {
	t.Parallel()
	exit := 3
	for name, tt := range map[string]struct {
		verdict map[string]any
		state   jobs.State
		attempt int
	}{
		"result":  {map[string]any{"result": jobs.Result{State: jobs.Failed, ExitCode: &exit, Attempt: 1}}, jobs.Failed, 1},
		"release": {map[string]any{"release": jobs.Release{Reason: "exit code 3", Spend: jobs.SpendRetry}}, jobs.Succeeded, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			id, _ := f.crashedJob(shell("echo once"))
			tt.verdict["job"], tt.verdict["attempt"], tt.verdict["nonce"] = id, 1, "dead"
			raw, err := json.Marshal(tt.verdict)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(f.state, "journal")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string][]byte{id + "-a1.json": raw, "torn.json.tmp": raw[:9], "odd.json": raw[:9]} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f.start()
			job := f.ended(id)
			if job.State != tt.state || job.Attempt != tt.attempt || job.Losses != 0 || job.Retries != tt.attempt-1 {
				t.Errorf("job is %s at attempt %d, %d losses, %d retries; want %s at attempt %d, the retry as decided",
					job.State, job.Attempt, job.Losses, job.Retries, tt.state, tt.attempt)
			}
			f.empty()
			f.eventually("only what cannot be read is left of the journal", func() bool {
				left, err := os.ReadDir(dir)
				return err == nil && len(left) == 1 && left[0].Name() == "odd.json.odd"
			})
		})
	}
}

// While Redis is away, nobody renews the lease of what a worker that died
// left running: it has to end before somebody else may be given the job.
func TestOrphanEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 60"))
		f.journaled(id, time.Second)
		f.memory.Break(errors.New("away"))
		began := time.Now()
		f.start()
		f.eventually("the container has ended", func() bool { return !f.runs(container) })
		if took := time.Since(began); took < 500*time.Millisecond || took > time.Second {
			t.Errorf("it ended after %s; want it after most of the lease's second, and before its end", took)
		}
		f.memory.Break(nil)
		f.empty()
	})
}

// A service whose result cannot be delivered runs no longer than its lease: somebody
// else is given the job then.
func TestServiceEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.at = func(_ context.Context, c faults.Call) error {
			if c.Name == "finish" {
				f.memory.Break(errors.New("away"))
			}
			return nil
		}
		f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		spec := shell("sleep 3600")
		spec.Run.Keep = jobs.Duration(time.Hour)
		id := f.submit(spec)
		time.Sleep(time.Minute)
		if n := len(f.engine.Containers()); n != 1 {
			t.Errorf("there are %d containers; want the service", n)
		}
		time.Sleep(worker.Defaults().Lease - time.Minute)
		f.empty()
		f.memory.Break(nil)
		if job := f.job(id); job.State != jobs.Running {
			t.Errorf("the job is %s; want it left to the reconciler", job.State)
		}
	})
}

// An engine that fails to end it is asked again and again, until it does.
func TestOrphanEndsAtTheFifthTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 120"))
		f.journaled(id, worker.Defaults().Lease)
		f.memory.Break(errors.New("away"))
		var tries atomic.Int32
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op == "list" && tries.Add(1) < 5 {
				return errors.New("the engine is busy")
			}
			return nil
		})
		f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
		time.Sleep(worker.Defaults().Lease)
		if f.runs(container) {
			t.Error("the container runs on though its lease has passed")
		}
		f.memory.Break(nil)
		time.Sleep(5 * time.Minute) // the job begins anew
		f.empty()
	})
}

// Verdicts that cannot be reported, because Redis is away, take no time from a
// container whose lease is about to pass, and do not mean that there is none.
func TestOrphanEndsBeforeVerdictsAreReported(t *testing.T) {
	t.Parallel()
	const released = `,"release":{"reason":"the worker drains"}`
	for name, decided := range map[string]string{
		"nothing is decided":  "",
		"to be handed back":   released,
		"told to end":         `,"container":{"phase":"stopping","why":{"drain":true}},"result":{"state":"cancelled"}`,
		"a service that runs": `,"result":{"state":"succeeded","host":"host-1","attempt":1,"keep_until":"2100-01-01T00:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.journaled("job-00000000", time.Minute, released)
				id, container := f.crashedJob(shell("echo up; sleep 120"))
				f.journaled(id, 3*time.Second, decided)
				f.memory.Break(errors.New("away"))
				f.start(func(o *worker.Options) { o.Renew = 5 * time.Second })
				time.Sleep(3 * time.Second)
				if f.runs(container) {
					t.Error("the container runs on though its lease has passed")
				}
				f.memory.Break(nil)
				time.Sleep(5 * time.Minute)
				f.empty()
			})
		})
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

// A worker that is told to end before it could look after what it found has to do
// so all the same: nobody else renews those leases.
func TestDrainLooksAfterWhatWasLeft(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mode    worker.DrainMode
		state   jobs.State
		attempt int
	}{
		{worker.DrainFinish, jobs.Succeeded, 1},
		{worker.DrainHandBack, jobs.Queued, 2},
		{worker.DrainAdopt, jobs.Running, 1},
	}
	for _, tt := range tests {
		t.Run(string(tt.mode), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				id, _ := f.crashedJob(shell("echo a; sleep 5; echo b"))
				f.journaled(id, time.Minute)
				f.memory.Break(errors.New("away"))
				w := f.start()
				time.Sleep(time.Second)
				w.Drain(tt.mode)
				time.Sleep(time.Second)
				f.memory.Break(nil)
				w.end(t)
				if job := f.job(id); job.State != tt.state || job.Attempt != tt.attempt || job.Losses != 0 {
					t.Errorf("job is %s at attempt %d with %d losses; want %s at %d", job.State, job.Attempt, job.Losses, tt.state, tt.attempt)
				}
				time.Sleep(5 * time.Second) // a container that is left ends by itself
			})
		})
	}
}

// A container that was made and never started belongs to the same attempt.
func TestAdoptBeforeTheStart(t *testing.T) {
	t.Parallel()
	for _, recorded := range []bool{false, true} {
		f := newFarm(t)
		spec := shell("echo once")
		id := f.submit(spec)
		ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
		if _, err := f.memory.Claim(t.Context(), ticket, jobs.Owner{Worker: "one", Host: "host-1", Nonce: "dead", Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c := jobs.Container{Name: jobs.ContainerName(id, 1)}
		if recorded {
			made, err := f.engine.Create(t.Context(), engineContainer(c.Name, id, f.job(id).Spec))
			if err != nil {
				t.Fatal(err)
			}
			c.ID = made.ID
		}
		if err := f.memory.Note(t.Context(), id, "dead", jobs.Progress{Stage: jobs.StageRun, Container: c, RunTimeout: time.Hour}); err != nil {
			t.Fatal(err)
		}
		f.start()
		job := f.ended(id)
		if job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 || f.log(job)[jobs.Stdout] != "once\n" {
			t.Errorf("job is %s at attempt %d with %d losses, log %q; want one run at the first attempt", job.State, job.Attempt, job.Losses, f.log(job))
		}
		f.empty()
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

// A worker that makes way for its successor leaves containers running, and lets
// builds go on until they have one.
func TestDrainForAdoption(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\nRUN sleep 0.3\nCMD [\"sh\", \"-c\", \"echo built; sleep 0.3; echo end\"]\n"
	w := f.start()
	runs := f.submit(shell("echo a; sleep 0.6; echo b"))
	builds := f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{}, Run: &jobs.Run{}})
	f.containerRuns(runs)
	f.eventually("the build runs", func() bool { return f.job(builds).Stage == jobs.StageBuild })
	w.Drain(worker.DrainAdopt)
	w.end(t)
	for _, id := range []string{runs, builds} {
		if job := f.job(id); job.State != jobs.Running || job.Container.ID == "" {
			t.Errorf("job is %s with container %q after the drain; want it running", job.State, job.Container.ID)
		}
	}
	f.start()
	for id, want := range map[string]string{runs: "a\nb\n", builds: "built\nend\n"} {
		job := f.ended(id)
		if job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 || f.log(job)[jobs.Stdout] != want {
			t.Errorf("job is %s at attempt %d with %d losses, log %q; want one run, %q", job.State, job.Attempt, job.Losses, f.log(job)[jobs.Stdout], want)
		}
	}
	f.empty()
}

func TestDrainHandsBackAtOnce(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	w := f.start()
	spec := shell("sleep 60")
	spec.Run.StopGrace = jobs.Duration(time.Second)
	id := f.submit(spec)
	f.containerRuns(id)
	w.Drain(worker.DrainHandBack)
	w.Drain(worker.DrainFinish) // too late
	w.end(t)
	if job := f.job(id); job.State != jobs.Queued || job.Attempt != 2 || job.Losses != 0 {
		t.Errorf("job is %s at attempt %d with %d losses; want it queued again at nobody's expense", job.State, job.Attempt, job.Losses)
	}
	f.empty()
}

// An engine that starts with its host knows of the containers that ran there, and
// not how they ended.
func TestHostStartedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		up, ago time.Duration
		attempt int
	}{
		"since": {time.Minute, time.Hour, 2}, "before": {time.Hour, time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				id, _ := f.crashedJob(shell("echo a; exit 255"))
				time.Sleep(tt.ago)
				f.uptime = func() time.Duration { return tt.up }
				f.start()
				f.eventually("the attempt is over", func() bool {
					job := f.job(id)
					return job.State.Terminal() || job.Attempt == 2
				})
				if job := f.job(id); job.Attempt != tt.attempt || job.Losses != tt.attempt-1 {
					t.Errorf("the job is %s in attempt %d with %d losses; want attempt %d", job.State, job.Attempt, job.Losses, tt.attempt)
				}
			})
		})
	}
}

// While it is not known what an earlier worker left running, nothing of it is a
// stray, however long that takes.
func TestWhatIsNotYetAdoptedIsNoStray(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, _ := f.crashedJob(shell("sleep 70; echo b"))
		other := f.submit(shell("true"))
		f.journaled(id, time.Hour)
		f.memory.Break(errors.New("away"))
		f.start(func(o *worker.Options) { o.Renew = 7 * time.Second })
		time.Sleep(61 * time.Second) // the recovery tries again after 63
		f.memory.Break(nil)
		if _, err := f.svc.Cancel(t.Context(), other, "an operator"); err != nil { // wakes tendServices
			t.Fatal(err)
		}
		if job := f.ended(id); job.State != jobs.Succeeded || job.Losses != 0 {
			t.Errorf("job is %s with %d losses; want its container left alone", job.State, job.Losses)
		}
		f.empty()
	})
}

// A store that loses its last second gives an attempt that was over to the next
// worker again. How a container ended that was told to says nothing of its job, so
// the journal keeps the verdict for as long as the container is there.
func TestVerdictIsKeptUntilTheContainerIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		var tries, kept int
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op != "remove" {
				return nil
			}
			if entries, err := os.ReadDir(filepath.Join(f.state, "journal")); err == nil && len(entries) == 1 {
				kept++
			}
			if tries++; tries == 1 {
				return errors.New("the engine is busy")
			}
			return nil
		})
		f.start()
		job := f.ended(f.submit(shell("true")))
		f.empty()
		f.eventually("the journal is empty", func() bool {
			entries, _ := os.ReadDir(filepath.Join(f.state, "journal"))
			return len(entries) == 0
		})
		if job.State != jobs.Succeeded || tries != 2 || kept != 2 {
			t.Errorf("job is %s, its container was removed %d times, the journal kept it %d times; want 2 and 2", job.State, tries, kept)
		}
	})
}

// A service that is ready while Redis is away is left to the next worker like
// any other container.
func TestDrainForAdoptionWithoutAStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op == "inspect" { // of the first probe
				f.memory.Break(errors.New("away"))
			}
			return nil
		})
		w := f.start()
		spec := shell("sleep 600")
		spec.Run.Keep = jobs.Duration(time.Minute)
		id := f.submit(spec)
		time.Sleep(time.Second)
		w.Drain(worker.DrainAdopt)
		time.Sleep(time.Second)
		f.engine.Hook(nil)
		f.memory.Break(nil)
		w.end(t)
		f.start()
		if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 {
			t.Errorf("job is %s at attempt %d with %d losses; want one attempt", job.State, job.Attempt, job.Losses)
		}
		time.Sleep(2 * time.Minute) // until it is not kept any more
		f.empty()
	})
}

// A stray that the engine does not remove keeps neither another one nor jobs.
func TestEveryStrayIsTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		for _, id := range []string{"gone-a", "gone-b", "gone-c"} {
			if _, err := f.engine.Create(t.Context(), engineContainer(jobs.ContainerName(id, 1), id, shell("sleep 60"))); err != nil {
				t.Fatal(err)
			}
		}
		stuck := f.engine.Containers()[0]
		f.engine.Hook(func(_ context.Context, op, arg string) error {
			if op == "remove" && arg == stuck.ID {
				return errors.New("device or resource busy")
			}
			return nil
		})
		f.start()
		synctest.Wait()
		if left := f.engine.Containers(); len(left) != 1 || left[0].ID != stuck.ID {
			t.Errorf("%d containers are left, want only the one that cannot be removed", len(left))
		}
		if job := f.ended(f.submit(shell("true"))); job.State != jobs.Succeeded {
			t.Errorf("job is %s", job.State)
		}
	})
}

// A container that an attempt finds under its name, because Redis lost its last
// second, may have ended because it was told to.
func TestEndBeforeTheStoreForgot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.start()
		time.Sleep(time.Second)
		spec := shell("echo once")
		made, err := f.engine.Create(t.Context(), engineContainer(jobs.ContainerName("job-00000001", 1), "job-00000001", spec))
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.engine.Start(t.Context(), made.ID, engine.Output{Stdout: io.Discard, Stderr: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		job := f.ended(f.submit(spec))
		if job.State != jobs.Succeeded || job.Attempt != 2 || job.Losses != 1 || job.Retries != 0 {
			t.Errorf("job is %s at attempt %d with %d losses; want it begun anew", job.State, job.Attempt, job.Losses)
		}
		f.empty()
	})
}

// What ran before Redis lost its last second, and then was lost itself, is not
// run once more behind its own output.
func TestRunThatTheStoreForgot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		var back func()
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op == "create" && back == nil {
				back = f.memory.Snapshot()
			}
			return nil
		})
		w := f.start()
		id := f.submit(shell("echo once; sleep 2"))
		f.containerRuns(id)
		w.Drain(worker.DrainAdopt)
		w.end(t)
		back()
		f.engine.Lose(f.engine.Containers()[0].ID)
		f.start()
		job := f.ended(id)
		if job.State != jobs.Succeeded || job.Attempt != 2 || job.Losses != 1 || f.log(job)[jobs.Stdout] != "once\n" {
			t.Errorf("job is %s at attempt %d with %d losses, log %q; want it begun anew", job.State, job.Attempt, job.Losses, f.log(job)[jobs.Stdout])
		}
		f.empty()
	})
}

// Why a container was being stopped counts, also when nothing else is left of it.
func TestHaltedAndGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 2"))
		f.journaled(id, time.Minute, `,"container":{"phase":"stopping","why":{"drain":true}}`)
		f.engine.Lose(container)
		f.start()
		if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 2 || job.Losses != 0 {
			t.Errorf("job is %s at attempt %d with %d losses; want it handed back without one", job.State, job.Attempt, job.Losses)
		}
		f.empty()
	})
}

// What a worker makes to see that its engine can is not left behind when it dies
// before it could remove it.
func TestLeftoversOfAProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		for _, host := range []string{"host-1", "host-2"} {
			labels := map[string]string{engine.LabelProbe: engine.ProbeName, engine.LabelFarm: "default", engine.LabelHost: host}
			c := engine.Container{Name: engine.ProbeName + "-" + host, Image: "busybox", Labels: labels}
			if _, err := f.engine.Create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		f.start()
		time.Sleep(2 * time.Minute) // the first round leaves it to the second where the worker examines its host
		synctest.Wait()
		left := f.engine.Containers()
		if len(left) != 1 || left[0].Labels[engine.LabelHost] != "host-2" {
			t.Errorf("%+v are left; want the other worker's alone", left)
		}
	})
}
