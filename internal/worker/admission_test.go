package worker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// buildOf is a job that builds what f.fetch hands out.
func buildOf(tags ...string) jobs.Spec {
	return jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{Tags: tags}}
}

// What a build stood on is judged again when it is known, because triggers in a
// base can lead elsewhere; no job gets the image then.
func TestBasesAreAdmittedAfterTheBuild(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\n"
	var asked []string
	f.admit = func(refs []string) error {
		asked = append(asked, refs...)
		return jobs.Fail(jobs.KindImageNotAllowed, nil, "use another", "the image %q is not allowed", refs[0])
	}
	f.start()
	const tag = "registry.example.com/app:1"
	job := f.ended(f.submit(buildOf(tag)))
	wantFailure(t, job, jobs.Refused, jobs.StageBuild, jobs.KindImageNotAllowed, "busybox")
	if len(asked) != 1 || !strings.Contains(asked[0], "busybox") || slices.Contains(f.engine.Tags(), tag) {
		t.Errorf("asked about %q, tags left: %q", asked, f.engine.Tags())
	}
	f.empty()
}

// An image to run is judged before it is looked for.
func TestImagesAreAdmittedBeforeTheRun(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.admit = func(refs []string) error {
		return jobs.Fail(jobs.KindImageNotAllowed, nil, "use another", "the image %q is not allowed", refs[0])
	}
	f.engine.Hook(func(_ context.Context, op, arg string) error {
		if strings.Contains(arg, "nosuch") {
			t.Errorf("the engine was asked for %s of %s", op, arg)
		}
		return nil
	})
	f.start()
	job := f.ended(f.submit(jobs.Spec{Run: &jobs.Run{Image: "nosuch"}}))
	wantFailure(t, job, jobs.Refused, jobs.StageRun, jobs.KindImageNotAllowed, "nosuch")
}

// What a job may not ask for is refused before any work: nothing is fetched, and the
// engine is not asked.
func TestJobsAreAdmittedBeforeAnyWork(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.admitJob = func(_ context.Context, job jobs.Spec) error {
		if job.Run.Ports[0].Host == 8080 {
			return nil
		}
		refused := jobs.Fail(jobs.KindPortNotAllowed, nil, "use another", "the port %d is not open", job.Run.Ports[0].Host)
		refused.Stage = jobs.StageRun
		return refused
	}
	fetched := 0
	fetch := f.fetch
	f.fetch = func(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
		fetched++
		return fetch(ctx, c)
	}
	f.files["Dockerfile"] = "FROM busybox\n"
	f.start()
	ask := func(port int) jobs.Job {
		spec := buildOf()
		spec.Retries = 2
		spec.Run = &jobs.Run{Command: []string{"true"}, Ports: []jobs.Port{{Container: 80, Host: port}}}
		return f.ended(f.submit(spec))
	}
	job := ask(80)
	wantFailure(t, job, jobs.Refused, jobs.StageRun, jobs.KindPortNotAllowed, "the port 80 is not open")
	if job.Attempt != 1 || fetched != 0 {
		t.Errorf("after %d attempts and %d fetches; want one attempt and no fetch", job.Attempt, fetched)
	}
	if job := ask(8080); job.State != jobs.Succeeded {
		t.Errorf("an open port: the job is %s: %+v", job.State, job.Result)
	}
}

// A cancel ends a job also while it is judged.
func TestCancelDuringAdmission(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	judging := make(chan struct{})
	f.admitJob = func(ctx context.Context, _ jobs.Spec) error {
		close(judging)
		<-ctx.Done()
		return ctx.Err()
	}
	f.start()
	id := f.submit(jobs.Spec{Run: &jobs.Run{Image: "busybox"}})
	<-judging
	if _, err := f.svc.Cancel(t.Context(), id, "ann"); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, f.ended(id), jobs.Cancelled, jobs.StageRun, jobs.KindCancelled, "ann")
}

// What was taken with a change, or at the second attempt, stands in the log.
func TestContextWarningsAreLogged(t *testing.T) {
	t.Parallel()
	archive := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox\n"), contextstest.Entry{Header: tar.Header{Name: "tool", Mode: 0o4755}})
	f := newFarm(t)
	opened := 0
	f.fetch = func(context.Context, jobs.Context) (io.ReadCloser, error) {
		content := archive
		if opened++; opened == 1 {
			content = bytes.Repeat([]byte("x"), len(archive))
		}
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	f.start()
	job := f.ended(f.submit(buildOf()))
	if job.State != jobs.Succeeded || opened != 2 {
		t.Fatalf("the job is %s after %d transfers: %+v", job.State, opened, job.Result)
	}
	notes := f.log(job)[jobs.Note]
	for _, want := range []string{"context: setuid, setgid and sticky bits are taken off", "context: the transfer was repeated"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the log does not say %q: %q", want, notes)
		}
	}
	if job.Result.Context == "" {
		t.Error("the result does not tell which context was built")
	}
}

// A transfer that takes too long is the farm's loss, and is tried again.
func TestFetchTimeout(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.fetch = func(ctx context.Context, _ jobs.Context) (io.ReadCloser, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	f.start(func(o *worker.Options) { o.Timeouts.Fetch = jobs.Duration(50 * time.Millisecond) })
	job := f.ended(f.submit(buildOf()))
	wantFailure(t, job, jobs.Failed, jobs.StageFetch, jobs.KindPoisoned, "longer than 50ms")
	if job.Attempt != 3 || !strings.Contains(job.Result.Failure.Hint, string(jobs.KindFetchTimeout)) {
		t.Errorf("attempt %d, hint %q", job.Attempt, job.Result.Failure.Hint)
	}
}
