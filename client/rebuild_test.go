package client

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// What was planned is begun once, though connections break, and followed to its end and back.
func TestRebuild(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.client.token = f.Token(access.Token{Name: "ops", Scopes: []access.Scope{access.Operate, access.Read}})
	for name, on := range map[string]string{"base": "debian:12", "app": "registry.example/base:1"} {
		tag := "registry.example/" + name + ":1"
		spec := jobs.Spec{Name: name, Context: &jobs.Context{Ref: "https://forge.example/" + name}, Build: &jobs.Build{Push: true, Tags: []string{tag}}}
		if _, err := f.DB.Learn(t.Context(), jobs.Recipe{
			Name: name, Job: "job-" + name, Made: time.Now().UTC(), Spec: spec.Normalize(), Tags: []string{tag},
			Materials: []jobs.BaseImage{{Ref: on, Role: jobs.RoleFrom, Digest: "sha256:0"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	q := RebuildQuestion{Bases: []string{"debian:12"}}
	plan, err := f.client.PlanRebuild(t.Context(), q)
	if err != nil || len(plan.Images) != 2 || plan.Images[1].After[0] != "base" || plan.Hash == "" {
		t.Fatalf("the plan is %+v (%v)", plan, err)
	}
	f.requests.take()
	f.requests.answer(func(_ http.ResponseWriter, r *http.Request) { // it is begun, and the answer lost
		f.api.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	begun, err := f.client.BeginRebuild(t.Context(), RebuildRequest{RebuildQuestion: q, Plan: plan.Hash, Canaries: 1})
	if err != nil || begun.ID == "" || begun.State != RebuildRunning || len(begun.Images) != 2 || begun.Plan != plan.Hash {
		t.Fatalf("begun %+v (%v)", begun, err)
	}
	if all := f.requests.take(); len(all) != 2 {
		t.Errorf("the requests were %q", all)
	}
	if _, err := f.client.BeginRebuild(t.Context(), RebuildRequest{RebuildQuestion: q}); kind(err) != "rebuild_conflict" {
		t.Errorf("begun once more: %v", err)
	}
	if none, err := f.client.BeginRebuild(t.Context(), RebuildRequest{RebuildQuestion: RebuildQuestion{Bases: []string{"registry.example/app:1"}}}); err != nil || none.ID != "" {
		t.Errorf("nothing to build: %+v (%v)", none, err)
	}
	if r, err := f.client.ChangeRebuild(t.Context(), begun.ID, PauseRebuild); err != nil || r.State != RebuildPaused {
		t.Errorf("paused: %+v (%v)", r, err)
	}
	head, _, err := f.DB.Rebuild(t.Context(), begun.ID)
	if err != nil {
		t.Fatal(err)
	}
	ended := head
	ended.State = jobs.RebuildFailed
	if ok, err := f.DB.ChangeRebuild(t.Context(), head, ended); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if r, err := f.client.WaitRebuild(t.Context(), begun.ID); err != nil || r.State != RebuildFailed || !r.State.Ended() {
		t.Errorf("at its end it is %+v (%v)", r, err)
	}
	if _, err := f.client.ChangeRebuild(t.Context(), begun.ID, RollBackRebuild); kind(err) != "rebuild_conflict" {
		t.Errorf("it has moved no tags: %v", err)
	}
	if r, err := f.client.ChangeRebuild(t.Context(), begun.ID, RetryRebuild); err != nil || r.State != RebuildRunning {
		t.Errorf("tried again: %+v (%v)", r, err)
	}
	if r, err := f.client.Rebuild(t.Context(), begun.ID); err != nil || r.By != "ops" || r.Images[0].Name != "base" || !r.Images[0].Canary {
		t.Errorf("read %+v (%v)", r, err)
	}
	if _, err := f.client.PlanRebuild(t.Context(), RebuildQuestion{Names: []string{"none"}}); kind(err) != "rebuild_impossible" {
		t.Errorf("no such recipe: %v", err)
	}
}
