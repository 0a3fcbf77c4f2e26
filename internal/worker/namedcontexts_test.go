package worker_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// namedBuild is a build with a directory and an image by other names.
func namedBuild(dir string) jobs.Spec {
	spec := buildOf()
	spec.Build.Contexts = map[string]string{"lib": dir, "base": "docker-image://busybox"}
	return spec
}

func TestNamedContexts(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"], f.files["libs/a"] = "FROM lib\nFROM busybox\n", "a"
	f.start()
	if job := f.ended(f.submit(namedBuild("libs"))); job.State != jobs.Succeeded {
		t.Errorf("job is %s with %+v", job.State, job.Result.Failure)
	}
	job := f.ended(f.submit(namedBuild("nowhere")))
	wantFailure(t, job, jobs.Refused, jobs.StageFetch, jobs.KindContextInvalid, `build.contexts "lib"`)
	f.empty()
}

// An engine that knows no such contexts would look for images of their names.
func TestNamedContextsOfAnOldEngine(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"], f.files["libs/a"] = "FROM lib\n", "a"
	f.engine.SetContexts(false)
	f.engine.Hook(func(_ context.Context, op, _ string) error {
		if op == "build" {
			t.Error("the engine was asked to build")
		}
		return nil
	})
	f.start()
	job := f.ended(f.submit(namedBuild("libs")))
	wantFailure(t, job, jobs.Failed, jobs.StageFetch, jobs.KindUnsupported, `no contexts by names, such as "lib"`)
	f.empty()
}

// What is read a second time has to be what was read before: an image of two contexts would
// be one that was never asked for.
func TestNamedContextsChange(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	times := 0
	f.fetch = func(context.Context, jobs.Context) (io.ReadCloser, error) {
		times++
		content := min(times, 2) // it changes once
		return io.NopCloser(bytes.NewReader(enginetest.Archive(t, "Dockerfile", "FROM lib\n", "libs/a", fmt.Sprint(content)))), nil
	}
	f.start()
	job := f.ended(f.submit(namedBuild("libs")))
	if job.State != jobs.Succeeded || job.Attempt != 2 {
		t.Errorf("job is %s at attempt %d with %+v; want it built anew", job.State, job.Attempt, job.Result.Failure)
	}
	f.empty()
}
