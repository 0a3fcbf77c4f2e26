package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// withRecipes is a farm whose image app stands on base, and that on debian:12.
func withRecipes(t *testing.T) *farm {
	t.Helper()
	f := newFarm(t, nil)
	for name, on := range map[string]string{"base": "debian:12", "app": "registry.example/base:1"} {
		f.learn(name, "registry.example/"+name+":1", on)
	}
	return f
}

func (f *farm) learn(name, tag, on string) {
	f.t.Helper()
	spec := jobs.Spec{Name: name, Context: &jobs.Context{Ref: "https://forge.example/" + name}, Build: &jobs.Build{Push: true, Tags: []string{tag}}}
	if _, err := f.db.Learn(f.t.Context(), jobs.Recipe{
		Name: name, Job: "job-" + name, Made: time.Now().UTC(), Spec: spec.Normalize(), ImageID: "sha256:" + zeros, Tags: []string{tag},
		Materials: []jobs.BaseImage{{Ref: on, Role: jobs.RoleFrom, Digest: "sha256:" + zeros}},
	}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) post(as, path, body string) reply {
	f.t.Helper()
	return f.send(request{method: "POST", path: path, as: as, body: strings.NewReader(body)})
}

// A plan is what the farm's own code makes of the recipes. Asking for it changes nothing.
func TestPlanRebuild(t *testing.T) {
	t.Parallel()
	f := withRecipes(t)
	before := f.redis.Dump()
	plan := into[rebuild.Plan](t, f.post("reader", "/v1/rebuilds/plan", `{"bases":["debian:12"]}`).want(t, http.StatusOK))
	if len(plan.Images) != 2 || plan.Images[1].Name != "app" || plan.Images[1].After[0] != "base" || plan.Waves != 2 || plan.Hash == "" {
		t.Errorf("the plan is %+v", plan)
	}
	for _, q := range []string{`{"names":["a*"]}`, `{"all":true}`, `{"stale":true}`} {
		f.post("reader", "/v1/rebuilds/plan", q).want(t, http.StatusOK)
	}
	for body, kind := range map[string]string{
		``: "body_invalid", `{}`: "body_invalid", `{"base":["debian:12"]}`: "body_invalid", `{"auto":true}`: "body_invalid", `[]`: "body_invalid",
		`{"bases":["debain:12"]}`: "rebuild_impossible", `{"names":["nothing"]}`: "rebuild_impossible",
	} {
		f.post("reader", "/v1/rebuilds/plan", body).problem(t, kind)
	}
	if p := f.post("reader", "/v1/rebuilds/plan", `{"bases":["debain:12"]}`).problem(t, "rebuild_impossible"); p.Status != http.StatusUnprocessableEntity || p.Hint != "did you mean debian:12?" {
		t.Errorf("the problem is %+v", p)
	}
	if after := f.redis.Dump(); after != before {
		t.Errorf("Redis had\n%s\nand has\n%s", before, after)
	}
	f.learn("ring", "ring:latest", "ring:latest")
	f.post("reader", "/v1/rebuilds/plan", `{"all":true}`).problem(t, "rebuild_impossible")
	f.post("blue", "/v1/rebuilds/plan", `{"all":true}`).want(t, http.StatusForbidden).problem(t, "forbidden")
	if deeds := into[struct{ Trail []access.Deed }](t, f.send(request{method: "GET", path: "/v1/trail", as: "admin"})).Trail; len(deeds) > 0 {
		t.Errorf("the trail has %+v", deeds)
	}
}
