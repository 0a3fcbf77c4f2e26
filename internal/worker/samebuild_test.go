package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/worker"
)

const sameTag = "registry.example.com/app:1"

// same is a job whose build has a key.
func sameBuild(change ...func(*jobs.Spec)) jobs.Spec {
	s := jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{Tags: []string{"app:1"}}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func toRegistry(s *jobs.Spec) { s.Build.Tags, s.Build.Push = []string{sameTag}, true }

// newSameFarm counts builds; before is called before each, nil for nothing.
func newSameFarm(t *testing.T, before func(ctx context.Context, n int32) error) (*farm, *atomic.Int32) {
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM base:1 AS base\nRUN echo building\n"
	f.engine.AddRemote("base:1")
	var builds atomic.Int32
	f.count(&builds, before)
	return f, &builds
}

func (f *farm) count(builds *atomic.Int32, before func(ctx context.Context, n int32) error) {
	f.engine.Hook(func(ctx context.Context, op, _ string) error {
		if op != "build" {
			return nil
		}
		n := builds.Add(1)
		if before == nil {
			return nil
		}
		return before(ctx, n)
	})
}

// other is another host of the farm.
func (f *farm) other() *farm {
	o := newFarm(f.t)
	o.memory, o.queue, o.svc, o.store, o.files, o.builds = f.memory, f.queue, f.svc, f.store, f.files, f.builds
	o.engine.AddRemote("base:1")
	return o
}

func elsewhere(o *worker.Options) { o.Name, o.HostID = "two", "host-2" }

// succeeded checks that a job has an image, which by says who built; "" is the job itself.
func (f *farm) succeeded(job jobs.Job, by string) {
	f.t.Helper()
	got := ""
	if job.Result != nil && job.Result.BuiltBy != nil {
		got = job.Result.BuiltBy.Job
	}
	if job.State != jobs.Succeeded || job.Result.ImageID == "" || len(job.Result.Bases) != 1 || got != by {
		f.t.Errorf("job is %s, %+v, its image built by %q; want it from %q", job.State, job.Result, got, by)
	}
}

func want(t *testing.T, builds *atomic.Int32, n int32) {
	t.Helper()
	if got := builds.Load(); got != n {
		t.Errorf("%d builds, want %d", got, n)
	}
}

func TestSameBuild(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, nil)
	f.start()
	first := f.ended(f.submit(sameBuild()))
	f.succeeded(first, "")
	second := f.ended(f.submit(sameBuild(func(s *jobs.Spec) { s.Build.Tags = []string{"app:2"} })))
	f.succeeded(second, first.ID)
	want(t, builds, 1)
	if second.Result.ImageID != first.Result.ImageID || !strings.Contains(f.log(second)[jobs.Note], "job "+first.ID+" has built the same") {
		t.Errorf("the image is %s, the log %q", second.Result.ImageID, f.log(second))
	}
	for i, change := range []func(*jobs.Spec){
		func(s *jobs.Spec) { s.Build.Args = map[string]string{"A": "1"} },
		func(s *jobs.Spec) { s.Build.Labels = map[string]string{"a": "1"} },
		func(s *jobs.Spec) { s.Build.Network = "none" },
		func(s *jobs.Spec) { s.Build.HideDockerfile = true },
		func(s *jobs.Spec) { s.Build.Target = "base" },
		func(s *jobs.Spec) { s.Build.Platform = "linux/arm64" },
		func(s *jobs.Spec) { s.Build.NoCache = true },
		func(s *jobs.Spec) { s.Build.NoCache = true },
	} {
		f.succeeded(f.ended(f.submit(sameBuild(change))), "")
		want(t, builds, int32(2+i))
	}
	f.files["Dockerfile"] += "LABEL other=yes\n"
	f.succeeded(f.ended(f.submit(sameBuild())), "")
	want(t, builds, 10)
}

// What goes into a build must be known before it. Of an image that only the host has it is not.
func TestBuildWithoutAKey(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, nil)
	f.files["Dockerfile"] = "FROM busybox\n"
	f.start()
	for range 2 {
		f.succeeded(f.ended(f.submit(sameBuild())), "")
	}
	want(t, builds, 2)
}

func TestSameBuildAtOnce(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	f, builds := newSameFarm(t, func(_ context.Context, n int32) error {
		if n == 1 {
			close(began)
			<-goOn
		}
		return nil
	})
	f.start()
	first := f.submit(sameBuild())
	<-began
	second := f.submit(sameBuild())
	f.eventually("the second builds", func() bool { return f.job(second).Stage == jobs.StageBuild })
	time.Sleep(50 * time.Millisecond)
	want(t, builds, 1)
	close(goOn)
	f.succeeded(f.ended(first), "")
	job := f.ended(second)
	f.succeeded(job, first)
	if !strings.Contains(f.log(job)[jobs.Note], "waiting for job "+first) {
		t.Errorf("the log is %q", f.log(job)[jobs.Note])
	}
	want(t, builds, 1)
}

// A build that fails, or whose host dies, keeps no other waiting.
func TestSameBuildThatFails(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	f, builds := newSameFarm(t, func(_ context.Context, n int32) error {
		if n == 1 {
			close(began)
			<-goOn
			return jobs.Fail(jobs.KindBuildFailed, nil, "", "a step failed")
		}
		return nil
	})
	f.start()
	first := f.submit(sameBuild())
	<-began
	second := f.submit(sameBuild())
	f.eventually("the second builds", func() bool { return f.job(second).Stage == jobs.StageBuild })
	close(goOn)
	if job := f.ended(first); job.State != jobs.Failed {
		t.Errorf("the first is %s", job.State)
	}
	f.succeeded(f.ended(second), "")
	want(t, builds, 2)
}

// A rebuild that the farm began by itself does not build what has failed and is the same
// still. A person who asks for it has it built.
func TestSameBuildHasFailed(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, func(context.Context, int32) error {
		return jobs.Fail(jobs.KindBuildFailed, nil, "", "a step failed")
	})
	f.start()
	first := f.ended(f.submit(sameBuild()))
	auto := func(s *jobs.Spec) { s.Cause = &jobs.Cause{Rebuild: "019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b", Auto: true} }
	for range 2 {
		job := f.ended(f.submit(sameBuild(auto)))
		wantFailure(t, job, jobs.Failed, jobs.StageBuild, jobs.KindBuildFailed, "the same build has failed before, in job "+first.ID+": a step failed")
	}
	want(t, builds, 1)
	byHand := func(s *jobs.Spec) { s.Cause = &jobs.Cause{Rebuild: "019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b"} }
	wantFailure(t, f.ended(f.submit(sameBuild(byHand))), jobs.Failed, jobs.StageBuild, jobs.KindBuildFailed, "a step failed")
	want(t, builds, 2)
	f.files["Dockerfile"] += "LABEL other=yes\n"
	f.ended(f.submit(sameBuild(auto)))
	want(t, builds, 3)
}

func TestSameBuildOfADeadWorker(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, nil)
	f.builds = taken{f.memory, &sync.Once{}}
	f.start()
	id := f.submit(sameBuild())
	f.eventually("the job waits", func() bool { return f.job(id).Stage == jobs.StageBuild })
	time.Sleep(50 * time.Millisecond)
	want(t, builds, 0)
	f.memory.Advance(jobs.BuildHold)
	f.succeeded(f.ended(id), "")
	want(t, builds, 1)
}

// taken has a key begun by an attempt that is not heard of again.
type taken struct {
	*jobstest.Memory
	once *sync.Once
}

func (m taken) BeginBuild(ctx context.Context, key string, b jobs.KeyedBuild) (jobs.KeyedBuild, error) {
	m.once.Do(func() {
		dead := b
		dead.By.Job = "dead"
		_, _ = m.Memory.BeginBuild(ctx, key, dead)
	})
	return m.Memory.BeginBuild(ctx, key, b)
}

// A build that takes for ever, elsewhere, costs a quarter of the time at most.
func TestSameBuildThatHangs(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	f, builds := newSameFarm(t, func(ctx context.Context, n int32) error {
		if n == 1 {
			close(hang)
			<-ctx.Done()
		}
		return nil
	})
	f.start()
	first := f.submit(sameBuild())
	<-hang
	second := f.ended(f.submit(sameBuild(func(s *jobs.Spec) { s.Timeouts.Build = jobs.Duration(4 * time.Second) })))
	f.succeeded(second, "")
	want(t, builds, 2)
	if _, err := f.svc.Cancel(t.Context(), first, "test"); err != nil {
		t.Fatal(err)
	}
	f.ended(first)
}

func TestSameBuildOnAnotherHost(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, nil)
	run := f.start()
	first := f.ended(f.submit(sameBuild(toRegistry)))
	run.stop()
	run.end(t)
	for _, tt := range []struct {
		name   string
		remote bool // the registry has the image still
		spec   jobs.Spec
		by     string
	}{
		{"from the registry", true, sameBuild(toRegistry), first.ID},
		{"gone from the registry", false, sameBuild(toRegistry), ""},
		{"another repository", true, sameBuild(toRegistry, func(s *jobs.Spec) { s.Build.Tags = []string{"registry.example.com/other:1"} }), ""},
		{"not pushed", true, sameBuild(), ""},
	} {
		o := f.other()
		var more atomic.Int32
		o.count(&more, nil)
		if tt.remote {
			o.engine.AddRemote(first.Result.RepoDigests[0])
		}
		o.builds = only{o.memory, first} // each time as if no other had built it since
		run := o.start(elsewhere)
		job := o.ended(o.submit(tt.spec))
		o.succeeded(job, tt.by)
		if built := more.Load() == 1; built != (tt.by == "") {
			t.Errorf("%s: built %t", tt.name, built)
		}
		run.stop()
		run.end(t)
	}
	want(t, builds, 1)
}

// only keeps what one job built.
type only struct {
	*jobstest.Memory
	job jobs.Job
}

func (m only) EndBuild(ctx context.Context, key string, b jobs.KeyedBuild) error {
	if b.By.Job != m.job.ID {
		return nil
	}
	return m.Memory.EndBuild(ctx, key, b)
}

// Keys save work. A farm that does not know them builds.
func TestSameBuildWithoutRedis(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, nil)
	f.builds = noKeys{}
	f.start()
	for range 2 {
		f.succeeded(f.ended(f.submit(sameBuild())), "")
	}
	want(t, builds, 2)
}

type noKeys struct{ jobs.Builds }

func (noKeys) BeginBuild(context.Context, string, jobs.KeyedBuild) (jobs.KeyedBuild, error) {
	return jobs.KeyedBuild{}, errors.New("no answer")
}

func TestSaltOfBuilds(t *testing.T) {
	t.Parallel()
	f, builds := newSameFarm(t, nil)
	for _, salt := range []string{"one", "two"} {
		run := f.start(func(o *worker.Options) { o.BuildSalt = salt })
		f.succeeded(f.ended(f.submit(sameBuild())), "")
		run.stop()
		run.end(t)
	}
	want(t, builds, 2)
}
