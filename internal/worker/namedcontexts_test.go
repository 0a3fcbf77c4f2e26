package worker_test

import (
	"context"
	"testing"

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
