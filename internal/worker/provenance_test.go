package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
	"github.com/slipway-farm/slipway/internal/worker"
)

// shelf keeps what is attached, by image.
type shelf struct {
	// seal fails to sign, nil does not.
	seal error
	// unwell is how many calls it does not answer; refuses is what it says to those that
	// come then, nil takes them.
	unwell  int
	refuses error

	mu    sync.Mutex // guards what follows, and unwell
	calls int
	has   map[string][]provenance.Document
}

func (s *shelf) Seal(ctx context.Context, st provenance.Statement) (provenance.Document, error) {
	if s.seal != nil {
		return provenance.Document{}, s.seal
	}
	return provenance.Seal(ctx, st, nil)
}

func (s *shelf) Attach(_ context.Context, image string, d provenance.Document) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.unwell > 0 {
		s.unwell--
		return jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "registry.example.com answered 503").Said("try later")
	}
	if s.refuses != nil {
		return s.refuses
	}
	if s.has == nil {
		s.has = map[string][]provenance.Document{}
	}
	s.has[image] = append(s.has[image], d)
	return nil
}

// An image has its provenance before its job succeeds: once for each repository.
func TestProvenance(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\n"
	s := &shelf{unwell: 1} // it is asked again
	f.provenance = s
	f.start(func(o *worker.Options) { o.Version = "v1" })
	job := f.ended(f.submit(jobs.Spec{
		Context: &jobs.Context{Ref: "file:///c.tar"},
		Build:   &jobs.Build{Tags: []string{"registry.example.com/app:1", "registry.example.com/app:2", "registry.example.com/other:1"}, Push: true},
	}))
	if job.State != jobs.Succeeded {
		t.Fatalf("job is %s: %+v", job.State, job.Result.Failure)
	}
	pushed := slices.Compact(slices.Sorted(slices.Values(job.Result.RepoDigests)))
	if len(pushed) != 2 || len(s.has) != 2 || s.calls != 3 {
		t.Fatalf("pushed %q, attached to %d in %d calls", pushed, len(s.has), s.calls)
	}
	if first, second := s.has[pushed[0]][0], s.has[pushed[1]][0]; string(first.Content) != string(second.Content) {
		t.Error("the two images of one build have two statements")
	}
	for _, image := range pushed {
		_, digest, _ := strings.Cut(image, "@")
		opened, err := s.has[image][0].Open(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		st := opened.Statement
		if !st.Of(digest) || len(st.Subject) != 2 {
			t.Errorf("subjects %+v; want %s among two", st.Subject, image)
		}
		run := st.Predicate.RunDetails
		if want := job.ID + "-a1"; run.Metadata.InvocationID != want || run.Builder.ID != provenance.BuilderID("default", "host-1") || run.Builder.Version["slipway"] != "v1" {
			t.Errorf("run details %+v; want invocation %s", run, want)
		}
		if m := run.Metadata; m.StartedOn.IsZero() || m.FinishedOn.Before(m.StartedOn) {
			t.Errorf("from %s to %s", m.StartedOn, m.FinishedOn)
		}
		if deps := st.Predicate.BuildDefinition.ResolvedDependencies; len(deps) == 0 || "sha256:"+deps[0].Digest["sha256"] != job.Result.Context {
			t.Errorf("dependencies %+v; want the context %s", deps, job.Result.Context)
		}
		if !json.Valid(opened.Raw) {
			t.Errorf("statement %q", opened.Raw)
		}
	}
	if log := f.log(job)[jobs.Note]; !strings.Contains(log, "the provenance of the image was not attached: registry.example.com answered 503; it is asked again in 2s\n") ||
		strings.Count(log, "attached the provenance to registry.example.com/") != 2 {
		t.Errorf("log %q", log)
	}
	f.empty()
}

// An image without its provenance is not pushed.
func TestNoProvenance(t *testing.T) {
	t.Parallel()
	spec := jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{Tags: []string{"registry.example.com/app:1"}, Push: true}}
	t.Run("the registry refuses", func(t *testing.T) {
		t.Parallel()
		f := newFarm(t)
		f.files["Dockerfile"] = "FROM busybox\n"
		f.provenance = &shelf{refuses: jobs.Fail(jobs.KindRegistryRefused, nil, "read its words", "registry.example.com refused it (400 Bad Request)").Said("no such type")}
		f.start()
		job := f.ended(f.submit(spec))
		wantFailure(t, job, jobs.Failed, jobs.StagePush, jobs.KindRegistryRefused, "the provenance of the image was not attached: registry.example.com refused it (400 Bad Request)")
		if got := job.Result.Failure; got.Cause != "no such type" || got.Hint != "read its words" {
			t.Errorf("failure %+v; want the registry's words and the hint", got)
		}
		f.empty()
	})
	t.Run("the key cannot be read", func(t *testing.T) {
		t.Parallel()
		f := newFarm(t)
		f.files["Dockerfile"] = "FROM busybox\n"
		s := &shelf{seal: jobs.Fail(jobs.KindEngine, errors.New("no such file"), "", "the worker cannot read its provenance key")}
		f.provenance = s
		f.start()
		id := f.submit(spec)
		f.eventually("the first attempt has failed, and the job waits for another", func() bool {
			past := f.job(id).Past
			return len(past) > 0 && past[0].Failure != nil && past[0].Failure.Stage == jobs.StagePush && past[0].Failure.Kind == jobs.KindEngine
		})
		if s.calls > 0 {
			t.Error("something was attached")
		}
	})
}

// What is not pushed has no provenance.
func TestProvenanceWithoutPush(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\n"
	s := &shelf{}
	f.provenance = s
	f.start()
	job := f.ended(f.submit(jobs.Spec{Context: &jobs.Context{Ref: "file:///c.tar"}, Build: &jobs.Build{Tags: []string{"registry.example.com/app:1"}}}))
	if job.State != jobs.Succeeded || s.calls != 0 {
		t.Errorf("job is %s, %d calls", job.State, s.calls)
	}
}
