package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"":                                 "",
		"name=&state=&state=failed&queue=": "state=failed",
		"after=2026-11-30T15%3A20&before=": "after=2026-11-30T15%3A20%3A00Z",
		"after=yesterday":                  "after=yesterday", // the API says what it wants
		"part=list&view=failures&kind=push_failed": "kind=push_failed&view=failures",
		"page_token=x&name=a":                      "name=a&page_token=x",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := readFilter(q).encode(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	f := readFilter(url.Values{"name": {"a"}})
	if g := f.with("name", ""); g.Get("name") != "" || f.Get("name") != "a" {
		t.Error("with changes the filter it is called on")
	}
}

// The address of a list selects as the API does, and older jobs are a link away.
func TestList(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	b := f.visit("builder")
	b.get("/jobs").want(t, http.StatusOK, "No jobs yet", "enqueue submit", "/v1/build?tag=app:1", "/v1/jobs?image=alpine")
	for i := range 60 {
		f.submit(jobs.Spec{Name: fmt.Sprintf("job%02d", i), Labels: map[string]string{"n": fmt.Sprint(i % 2)}})
	}
	first := b.get("/jobs").want(t, http.StatusOK, "job59", "job10", "Older").lacks(t, "job09")
	_, rest, _ := strings.Cut(first.body, `">Newest</a> <a href="`)
	older, _, _ := strings.Cut(rest, `"`)
	b.get(strings.ReplaceAll(older, "&amp;", "&")).want(t, http.StatusOK, "job09", "job00", "Newest").lacks(t, "job10", "Older")
	b.get("/jobs?name=job07&state=").want(t, http.StatusOK, "job07", "Clear").lacks(t, "job08")
	b.get("/jobs?state=failed").want(t, http.StatusOK, "No job is as the filter wants it")
	b.get("/jobs?label=n%3D1&limit=200").want(t, http.StatusOK, "job07").lacks(t, "job08")
	b.get("/jobs?stat=x").want(t, http.StatusBadRequest, "did you mean state?")
	b.get("/jobs?part=list").want(t, http.StatusOK, "job59").lacks(t, "<html")
}

// Failures are grouped by kind and first line, and acted on as they are shown.
func TestFailures(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	for range 3 {
		f.claim(f.submit(jobs.Spec{Name: "a"}).ID).fail(jobs.KindExitNonzero, jobs.StageRun, "the container ended with exit code 1\nand more")
	}
	f.claim(f.submit(jobs.Spec{Name: "b"}).ID).fail(jobs.KindPush, jobs.StagePush, "the registry is gone")
	f.claim(f.submit(jobs.Spec{Name: "c"}).ID).finish(jobs.Result{State: jobs.Succeeded})
	a := f.visit("builder").get("/jobs?view=failures").want(t, http.StatusOK, `<span class="count">3</span> the container ended with exit code 1<`, `<span class="count">1</span> the registry is gone`,
		"2 kinds and first lines among 4 failures", "the farm&#39;s fault, not yours", "Retry…")
	if i, j := strings.Index(a.body, "exit code 1"), strings.Index(a.body, "registry is gone"); i > j {
		t.Error("the largest group is not first")
	}
	f.visit("builder").get("/jobs?view=failures&fault=infra").want(t, http.StatusOK, "the registry is gone").lacks(t, "exit code 1")
}

// What is done to many jobs is shown before it is done, and done to exactly those.
func TestBulk(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	one, two := f.submit(jobs.Spec{Name: "one"}), f.submit(jobs.Spec{Name: "two"})
	ended := f.submit(jobs.Spec{Name: "ended"})
	f.claim(ended.ID).finish(jobs.Result{State: jobs.Succeeded})
	b := f.visit("builder")
	form := url.Values{"action": {"cancel"}, "id": {one.ID, ended.ID}}
	a := b.post("/jobs/bulk", form).want(t, http.StatusOK, "Nothing has been done yet: it would be done with 1 of 2 jobs", "the job has ended", "Cancel 1 job<")
	if !strings.Contains(a.body, `name="id" value="`+one.ID) || strings.Contains(a.body, `name="id" value="`+ended.ID) || strings.Contains(a.body, two.ID) {
		t.Errorf("the list that is to be confirmed: %s", a.main())
	}
	state := func(id string) jobs.State {
		j, err := f.svc.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return j.State
	}
	if got := state(one.ID); got != jobs.Queued {
		t.Errorf("before it was confirmed the job is %s", got)
	}
	form.Set("confirm", "1")
	b.post("/jobs/bulk", form).want(t, http.StatusOK, "It was done with 1 of 2 jobs")
	if a, b := state(one.ID), state(two.ID); a != jobs.Cancelled || b != jobs.Queued {
		t.Errorf("the jobs are %s and %s", a, b)
	}
	form.Set("action", "retry")
	b.post("/jobs/bulk", form).want(t, http.StatusOK, "It was done with 2 of 2 jobs")
	b.post("/jobs/bulk", url.Values{"action": {"cancel"}}).want(t, http.StatusBadRequest, "no job is ticked")
	b.post("/jobs/bulk", url.Values{"action": {"drop"}, "id": {one.ID}}).want(t, http.StatusBadRequest)
}
