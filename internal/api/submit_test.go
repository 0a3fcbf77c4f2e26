package api

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// One request builds a tar and answers with the finished job; the record is there before.
func TestBuildAndWait(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var list page
		for len(list.Jobs) == 0 {
			list = into[page](t, f.send(request{method: "GET", path: "/v1/jobs", as: "reader"}))
			time.Sleep(10 * time.Millisecond)
		}
		f.claim(list.Jobs[0].ID).finish(jobs.Result{State: jobs.Succeeded})
	}()
	r := f.send(request{method: "POST", path: "/v1/build?tag=app:1&wait=30s", as: "submitter", body: hello(t)}).want(t, http.StatusOK)
	<-done
	job := into[jobs.Job](t, r)
	if job.State != jobs.Succeeded || job.Spec.Build.Tags[0] != "app:1" || r.Header.Get("Location") != "/v1/jobs/"+job.ID {
		t.Errorf("the answer is %s at %s", r.body, r.Header.Get("Location"))
	}
	if has, err := f.blobs.Has(t.Context(), strings.TrimPrefix(job.Spec.Context.Ref, "cas:")); err != nil || !has {
		t.Errorf("the store does not have the context %s: %v", job.Spec.Context.Ref, err)
	}
}

// A wait that runs out answers with the job as it is.
func TestWaitRunsOut(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	began := time.Now()
	job := into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/jobs?image=a", as: "submitter", header: http.Header{"Prefer": {"respond-async, wait=1"}}}).want(t, http.StatusAccepted))
	if took := time.Since(began); job.State != jobs.Queued || took < time.Second {
		t.Errorf("after %s the job is %s", took, job.State)
	}
}

// With fail, a job that did not succeed is a problem of its kind, with the job in it.
func TestFail(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.submit("submitter")
	f.claim(job.ID).finish(jobs.Result{State: jobs.Failed, Failure: &jobs.Failure{Stage: jobs.StageRun, Kind: jobs.KindOOM, Message: "it took too much", Hint: "give it more"}})
	r := f.send(request{method: "GET", path: "/v1/jobs/" + job.ID + "?fail&wait=10s", as: "reader"}).want(t, jobs.KindOOM.Info().HTTP)
	if p := r.problem(t, "oom_killed"); p.Job == nil || p.Job.ID != job.ID || p.Detail != "it took too much" || p.Hint != "give it more" || p.Fault != jobs.UserFault {
		t.Errorf("the problem is %s", r.body)
	}
	f.send(request{method: "GET", path: "/v1/jobs/" + job.ID, as: "reader"}).want(t, http.StatusOK)
}

// Document and parameters, in a header, in a form, or as the body.
func TestDocuments(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	form := func(parts ...string) (*bytes.Buffer, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, name := range parts {
			part, err := w.CreateFormFile(name, name)
			if err != nil {
				t.Fatal(err)
			}
			content := `{"name":"formed","build":{"target":"x"}}`
			if name == "context" {
				content = hello(t).String()
			}
			if _, err := part.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return &b, w.FormDataContentType()
	}
	job := into[jobs.Job](t, f.send(request{
		method: "POST", path: "/v1/build?tag=b:2", as: "submitter", body: hello(t),
		header: http.Header{documentHeader: {`{"name":"headed","build":{"tags":["a:1"]}}`}},
	}).want(t, http.StatusAccepted))
	if job.Spec.Name != "headed" || job.Spec.Build.Tags[0] != "b:2" {
		t.Errorf("the header made %+v", job.Spec)
	}
	body, media := form("document", "context")
	job = into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/build?tag=b:2", as: "submitter", body: body, header: http.Header{"Content-Type": {media}}}).want(t, http.StatusAccepted))
	if job.Spec.Name != "formed" || job.Spec.Build.Target != "x" || job.Spec.Build.Tags[0] != "b:2" {
		t.Errorf("the form made %+v", job.Spec)
	}
	body, media = form("document")
	f.send(request{method: "POST", path: "/v1/build", as: "submitter", body: body, header: http.Header{"Content-Type": {media}}}).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	body, media = form("other")
	f.send(request{method: "POST", path: "/v1/build", as: "submitter", body: body, header: http.Header{"Content-Type": {media}}}).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	job = into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/jobs?name=changed", as: "submitter", body: strings.NewReader(`{"name":"n","run":{"image":"a"}}`)}).want(t, http.StatusAccepted))
	if job.Spec.Name != "changed" || job.Spec.Run.Image != "a" {
		t.Errorf("the body made %+v", job.Spec)
	}
}

// What is wrong with a submission is told with all of it, and leaves nothing behind.
func TestSubmitRefuses(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for _, tt := range []struct {
		path, body string
		header     http.Header
		status     int
		kind       string
	}{
		{path: "/v1/jobs", body: `{"name":"Bad Name","queue":"-"}`, status: 400, kind: "spec_invalid"},
		{path: "/v1/jobs", body: ``, status: 400, kind: "spec_invalid"},
		{path: "/v1/jobs", body: `{"nmae":"a"}`, status: 400, kind: "spec_invalid"},
		{path: "/v1/jobs", body: `nonsense`, status: 400, kind: "spec_invalid"},
		{path: "/v1/jobs", body: `{"cause":{"rebuild":"x"},"run":{"image":"a"}}`, status: 400, kind: "spec_invalid"},
		{path: "/v1/jobs?tga=a", body: `{}`, status: 400, kind: "parameter_invalid"},
		{path: "/v1/jobs?wait=forever", body: `{}`, status: 400, kind: "parameter_invalid"},
		{path: "/v1/jobs?wait=2h", body: `{}`, status: 400, kind: "parameter_invalid"},
		{path: "/v1/jobs?wait=1s&wait=2s", body: `{}`, status: 400, kind: "parameter_invalid"},
		{path: "/v1/jobs?fail=perhaps", body: `{}`, status: 400, kind: "parameter_invalid"},
		{path: "/v1/jobs?a;b", body: `{}`, status: 400, kind: "parameter_invalid"},
		{path: "/v1/jobs", body: `{}`, header: http.Header{"Content-Type": {"text/html"}}, status: 415, kind: "media_type_unsupported"},
		{path: "/v1/jobs", body: `{"name":"` + strings.Repeat("a", jobs.MaxSpecBytes) + `"}`, status: 413, kind: "body_too_large"},
		{path: "/v1/jobs", body: `{"idempotency_key":"a","run":{"image":"a"}}`, header: http.Header{"Idempotency-Key": {"b"}}, status: 400, kind: "parameter_invalid"},
		{path: "/v1/build", body: ``, status: 422, kind: "context_empty"},
		{path: "/v1/build", body: `no tar at all, and long enough to be sure of that` + strings.Repeat(" ", 600), status: 422, kind: "context_not_tar"},
		{path: "/v1/build", body: archive(t, map[string]string{"a": "b"}).String(), status: 422, kind: "dockerfile_missing"},
		{path: "/v1/build", body: archive(t, map[string]string{"../a": "b", "Dockerfile": "FROM scratch"}).String(), status: 422, kind: "context_path_escape"},
		{path: "/v1/build", body: hello(t).String()[:1200], status: 422, kind: "context_truncated"},
		{path: "/v1/build", body: hello(t).String(), header: http.Header{documentHeader: {`{"context":{"ref":"file:///x"}}`}}, status: 400, kind: "parameter_invalid"},
		{path: "/v1/build", body: hello(t).String(), header: http.Header{documentHeader: {`{"retries":99}`}}, status: 400, kind: "spec_invalid"},
	} {
		t.Run(tt.path+" "+tt.kind, func(t *testing.T) {
			r := f.send(request{method: "POST", path: tt.path, as: "submitter", header: tt.header, body: strings.NewReader(tt.body)})
			p := r.want(t, tt.status).problem(t, tt.kind)
			if p.Title == "" || p.Detail == "" {
				t.Errorf("the problem says too little: %s", r.body)
			}
			if tt.kind == "spec_invalid" && (len(p.Errors) == 0 || p.Errors[0].Code == "") {
				t.Errorf("the problem names no finding: %s", r.body)
			}
		})
	}
	if list := into[page](t, f.send(request{method: "GET", path: "/v1/jobs", as: "reader"})); len(list.Jobs) != 0 {
		t.Errorf("%d jobs came of it", len(list.Jobs))
	}
}

// The same key with the same document is the same job, with another one it is refused.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	post := func(as, body string) reply {
		return f.send(request{method: "POST", path: "/v1/jobs", as: as, header: http.Header{"Idempotency-Key": {"k1"}}, body: strings.NewReader(body)})
	}
	first := into[jobs.Job](t, post("submitter", `{"run":{"image":"a"}}`).want(t, http.StatusAccepted))
	r := post("submitter", `{"run":{"image":"a"}}`).want(t, http.StatusAccepted)
	if again := into[jobs.Job](t, r); again.ID != first.ID || r.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the second time made %s, the first %s (%q)", again.ID, first.ID, r.Header.Get("Idempotent-Replayed"))
	}
	post("submitter", `{"run":{"image":"b"}}`).want(t, http.StatusUnprocessableEntity).problem(t, "idempotency_key_reused")
	// A tenant's keys are its own.
	blue := into[jobs.Job](t, post("blue", `{"run":{"image":"b"}}`).want(t, http.StatusAccepted))
	green := into[jobs.Job](t, post("green", `{"run":{"image":"a"}}`).want(t, http.StatusAccepted))
	if blue.ID == first.ID || green.ID == first.ID || blue.ID == green.ID {
		t.Error("tenants share a key")
	}
}

// A job is tried again as a job of its own, once it has ended.
func TestRetry(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	made := into[jobs.Job](t, f.send(request{
		method: "POST", path: "/v1/build?tag=a:1", as: "submitter", body: hello(t), header: http.Header{"Idempotency-Key": {"k"}},
	}).want(t, http.StatusAccepted))
	f.send(request{method: "POST", path: "/v1/jobs/" + made.ID + "/retry", as: "submitter"}).want(t, http.StatusConflict).problem(t, "job_not_finished")
	f.claim(made.ID).finish(jobs.Result{State: jobs.Failed, Failure: &jobs.Failure{Kind: jobs.KindOOM, Message: "m"}})
	again := into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/jobs/" + made.ID + "/retry", as: "submitter"}).want(t, http.StatusAccepted))
	if again.ID == made.ID || again.Spec.Context.Ref != made.Spec.Context.Ref || again.Spec.Build.Pull || again.Spec.IdempotencyKey != "" {
		t.Errorf("the retry is %+v", again)
	}
	fresh := into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/jobs/" + made.ID + "/rerun", as: "submitter"}).want(t, http.StatusAccepted))
	if !fresh.Spec.Build.Pull {
		t.Errorf("the rerun is %+v", fresh.Spec.Build)
	}
}

func TestBulk(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	waits, ended, blue := f.submit("submitter"), f.submit("submitter"), f.submit("blue")
	f.claim(ended.ID).finish(jobs.Result{State: jobs.Failed, Failure: &jobs.Failure{Kind: jobs.KindOOM, Message: "m"}})
	bulk := func(as, action string, dry bool) map[string]string {
		body := fmt.Sprintf(`{"action":%q,"dry_run":%v,"ids":[%q,%q,%q,"none","No ID",%q]}`, action, dry, waits.ID, ended.ID, blue.ID, waits.ID)
		r := f.send(request{method: "POST", path: "/v1/jobs/bulk", as: as, body: strings.NewReader(body)}).want(t, http.StatusOK)
		got := map[string]string{}
		for _, d := range into[struct{ Jobs []bulkDone }](t, r).Jobs {
			got[d.ID] = fmt.Sprint(d.Done)
			if d.Problem != nil {
				got[d.ID] = d.Problem.kind()
			}
		}
		return got
	}
	check := func(got map[string]string, w, e, b string) {
		t.Helper()
		want := map[string]string{waits.ID: w, ended.ID: e, blue.ID: b, "none": "job_not_found", "No ID": "job_not_found"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("bulk did %v, want %v", got, want)
		}
	}
	check(bulk("green", "cancel", false), "job_not_found", "job_not_found", "job_not_found")
	check(bulk("submitter", "cancel", true), "true", "job_finished", "true")
	check(bulk("submitter", "retry", true), "job_not_finished", "true", "job_not_finished")
	check(bulk("blue", "cancel", false), "job_not_found", "job_not_found", "true")
	check(bulk("submitter", "cancel", false), "true", "job_finished", "job_finished")
	check(bulk("submitter", "rerun", false), "true", "true", "true")
	f.send(request{method: "POST", path: "/v1/jobs/bulk", as: "submitter", body: strings.NewReader(`{"action":"delete","ids":["a"]}`)}).want(t, 400).problem(t, "body_invalid")
	f.send(request{method: "POST", path: "/v1/jobs/bulk", as: "submitter", body: strings.NewReader(`{"action":"cancel","ids":[]}`)}).want(t, 400).problem(t, "body_invalid")
	f.send(request{method: "POST", path: "/v1/jobs/bulk", as: "submitter", body: strings.NewReader(`{"action":"cancel","job":[]}`)}).want(t, 400).problem(t, "body_invalid")
}

// The job belongs to the trace of the request, which is no part of what an idempotency key
// stands for: a client that tries again does so in another span.
func TestTraceOfARequest(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	const first, second = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01"
	submit := func(trace string) jobs.Job {
		header := http.Header{"Traceparent": {trace}, "Idempotency-Key": {"k"}}
		return into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/jobs?image=a", as: "submitter", header: header}).want(t, http.StatusAccepted))
	}
	job, again := submit(first), submit(second)
	if job.ID != again.ID || job.Traceparent != first || again.Traceparent != first {
		t.Errorf("job %s of trace %q, and once more job %s of %q; want one of %q", job.ID, job.Traceparent, again.ID, again.Traceparent, first)
	}
	none := into[jobs.Job](t, f.send(request{method: "POST", path: "/v1/jobs?image=a", as: "submitter", header: http.Header{"Traceparent": {"none"}}}).want(t, http.StatusAccepted))
	if none.Traceparent != "" {
		t.Errorf("what is no trace context became %q", none.Traceparent)
	}
}
