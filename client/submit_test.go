package client

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// lost does what is asked for and loses the answer.
func (f *farm) lost(w http.ResponseWriter, r *http.Request) {
	f.api.ServeHTTP(&bytesOnly{header: http.Header{}}, r)
	panic(http.ErrAbortHandler)
}

// bytesOnly is an answer that goes nowhere.
type bytesOnly struct{ header http.Header }

func (b *bytesOnly) Header() http.Header         { return b.header }
func (b *bytesOnly) Write(p []byte) (int, error) { return len(p), nil }
func (b *bytesOnly) WriteHeader(int)             {}

// busy is a server that has too much to do.
func busy(after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"type": "/problems/busy", "title": "busy", "status": 503}`)
	}
}

// A submission whose answer is lost comes again, and is one job.
func TestSubmitIsOnce(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.requests.answer(f.lost, busy("0"), f.lost)
	job := f.submit(t)
	if all := f.all(t); len(all) != 1 || all[0].ID != job.ID || job.Spec.IdempotencyKey == "" {
		t.Errorf("the farm has %d jobs, want the one with a key: %+v", len(all), job)
	}
	if again := f.submit(t); again.ID == job.ID {
		t.Error("another submission is the same job")
	}
	// The caller's own key counts.
	d := image()
	d.IdempotencyKey = "order 7"
	first, err := f.client.Submit(t.Context(), d)
	second, err2 := f.client.Submit(t.Context(), d)
	if err = errors.Join(err, err2); err != nil || first.ID != second.ID || first.Spec.IdempotencyKey != "order 7" {
		t.Errorf("with a key of the caller the jobs are %s and %s: %v", first.ID, second.ID, err)
	}
	d.Name = "another"
	if _, err = f.client.Submit(t.Context(), d); kind(err) != "idempotency_key_reused" {
		t.Errorf("with another document: %v", err)
	}
}

// kind is that of the problem in an error.
func kind(err error) string {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Kind()
	}
	return ""
}

// From a tar to its result.
func TestBuild(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job, err := f.client.Build(t.Context(), bytes.NewReader(hello(t)), Options{
		Document: Document{Name: "app", Labels: map[string]string{"a": "b"}}, Parameters: url.Values{"tag": {"app:1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if job.State != Queued || job.Spec.Build.Tags[0] != "app:1" || job.Spec.Name != "app" || job.Submitter != "ci" || !strings.HasPrefix(job.Spec.Context.Ref, "cas:sha256:") {
		t.Errorf("the job is %+v", job)
	}
	waited := make(chan Job, 1)
	go func() {
		job, err := f.client.Wait(t.Context(), job.ID)
		if err != nil {
			t.Error(err)
		}
		waited <- job
	}()
	code := 0
	f.Claim(job.ID).Finish(jobs.Result{State: jobs.Succeeded, ImageID: "sha256:abc", ExitCode: &code})
	if job := <-waited; job.State != Succeeded || job.Result == nil || *job.Result.ExitCode != 0 {
		t.Errorf("it ended as %+v", job)
	}
	again, err := f.client.Retry(t.Context(), job.ID)
	if err != nil || again.ID == job.ID || again.Spec.Context.Ref != job.Spec.Context.Ref {
		t.Errorf("tried again it is %+v: %v", again, err)
	}
	if again, err = f.client.Rerun(t.Context(), job.ID); err != nil || !again.Spec.Build.Pull {
		t.Errorf("run again it is %+v: %v", again, err)
	}
	_, err = f.client.Build(t.Context(), bytes.NewReader(archive(t, map[string]string{"a": "b"})), Options{})
	if kind(err) != "dockerfile_missing" {
		t.Errorf("without a Dockerfile: %v", err)
	}
	if _, err = f.client.Build(t.Context(), nil, Options{Document: Document{Context: &Context{}}}); err == nil {
		t.Error("a document with a context of its own was taken")
	}
}

// A job is cancelled once, also when the answer is lost; one that ended otherwise is a problem.
func TestCancel(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t)
	f.requests.answer(f.lost)
	if got, err := f.client.Cancel(t.Context(), job.ID); err != nil || got.State != Cancelled || got.CancelBy != "ci" {
		t.Errorf("cancelled: %+v %v", got, err)
	}
	job = f.submit(t)
	f.Claim(job.ID).Finish(jobs.Result{State: jobs.Succeeded})
	if _, err := f.client.Cancel(t.Context(), job.ID); kind(err) != "job_finished" {
		t.Errorf("cancelling what has ended: %v", err)
	}
	if got, err := f.client.Job(t.Context(), job.ID); err != nil || got.State != Succeeded {
		t.Errorf("the job is %+v: %v", got, err)
	}
}

// Jobs are listed page after page, as far as the caller goes.
func TestJobs(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var want []string
	for i := range 7 {
		d := image()
		if i%2 == 0 {
			d.Name = "even"
		}
		job, err := f.client.Submit(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			want = append([]string{job.ID}, want...)
		}
	}
	list := func(filter Filter, most int) (ids []string, err error) {
		for job, err := range f.client.Jobs(t.Context(), filter) {
			if err != nil {
				return ids, err
			}
			if ids = append(ids, job.ID); len(ids) == most {
				break
			}
		}
		return ids, nil
	}
	if got, err := list(Filter{Name: "even", States: []State{Queued}, Submitter: "ci", After: time.Now().Add(-time.Hour)}, 10); err != nil || !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q: %v", got, want, err)
	}
	if got, err := list(Filter{}, 2); err != nil || len(got) != 2 {
		t.Errorf("listed %q, want two: %v", got, err)
	}
	if _, err := list(Filter{Label: "nothing"}, 1); kind(err) != "parameter_invalid" {
		t.Errorf("with a bad filter: %v", err)
	}
	f.requests.take()
	f.requests.answer(
		func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"jobs": [{"id": "a"}], "next_page_token": "x y"}`)
		},
		func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"jobs": [{"id": %q}]}`, r.URL.Query().Get("page_token"))
		},
	)
	if got, err := list(Filter{}, 10); err != nil || fmt.Sprint(got) != "[a x y]" {
		t.Errorf("two pages have %q: %v", got, err)
	}
}
