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

// What was asked for is begun as it was planned, once, and followed to its end and back.
func TestBeginRebuild(t *testing.T) {
	t.Parallel()
	f := withRecipes(t)
	plan := into[rebuild.Plan](t, f.post("reader", "/v1/rebuilds/plan", `{"bases":["debian:12"]}`))
	const id = "00000000-0000-7000-8000-000000000001"
	body := `{"bases":["debian:12"],"id":"` + id + `","plan":"` + plan.Hash + `","priority":"normal","max_parallel":1,"canaries":1}`
	for range 2 {
		r := f.post("operator", "/v1/rebuilds", body).want(t, http.StatusCreated)
		if got := into[rebuildDoc](t, r); got.ID != id || got.Plan != plan.Hash || got.By != "operator" || got.Question != "--base debian:12" || len(got.Images) != 2 || !got.Images[0].Canary ||
			got.Priority != jobs.PriorityNormal || got.MaxParallel != 1 || r.Header.Get("Location") != "/v1/rebuilds/"+id {
			t.Errorf("it is %+v", got)
		}
	}
	for body, kind := range map[string]string{
		`{"all":true,"id":"` + id + `"}`: "rebuild_conflict", `{"names":["app"]}`: "rebuild_conflict", `{"all":true,"plan":"0000"}`: "rebuild_conflict",
		`{"names":["nothing"]}`: "rebuild_impossible", `{}`: "body_invalid", `{"all":true,"priority":"fast"}`: "body_invalid", `{"all":true,"id":"A"}`: "body_invalid",
		`{"all":true,"max_parallel":-1}`: "body_invalid", `{"all":true,"canaries":-1}`: "body_invalid", `{"all":true,"by":"me"}`: "body_invalid", `{"all":true,"question":"x"}`: "body_invalid",
	} {
		f.post("operator", "/v1/rebuilds", body).problem(t, kind)
	}
	f.post("operator", "/v1/rebuilds", `{"bases":["registry.example/app:1"]}`).want(t, http.StatusNoContent)
	f.post("blue", "/v1/rebuilds", body).want(t, http.StatusForbidden).problem(t, "forbidden")
	if list, err := f.db.Rebuilds(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the rebuilds are %+v (%v)", list, err)
	}
}

func TestRebuildVerbs(t *testing.T) {
	t.Parallel()
	f := withRecipes(t)
	r := into[rebuildDoc](t, f.post("operator", "/v1/rebuilds", `{"names":["app"]}`).want(t, http.StatusCreated))
	for _, step := range []struct{ verb, state string }{
		{"resume", ""},
		{"retry", ""},
		{"rollback", ""},
		{"pause", "paused"},
		{"pause", ""},
		{"resume", "running"},
		{"cancel", "cancelling"},
		{"cancel", ""},
	} {
		got := f.post("operator", "/v1/rebuilds/"+r.ID+"/"+step.verb, "")
		if step.state == "" {
			got.want(t, http.StatusConflict).problem(t, "rebuild_conflict")
			continue
		}
		if r := into[rebuildDoc](t, got.want(t, http.StatusOK)); string(r.State) != step.state || r.State == jobs.RebuildCancelling && r.CancelledBy != "operator" {
			t.Errorf("%s: it is %+v", step.verb, r.Rebuild)
		}
	}
	f.post("operator", "/v1/rebuilds/none/pause", "").want(t, http.StatusNotFound).problem(t, "not_found")
}

// Who waits for a rebuild hears of its end, and after so long in any case; a server that ends
// keeps no one waiting.
func TestWaitForRebuild(t *testing.T) {
	t.Parallel()
	f := withRecipes(t)
	r := into[rebuildDoc](t, f.post("operator", "/v1/rebuilds", `{"names":["app"]}`).want(t, http.StatusCreated))
	get := func(wait string) rebuildDoc {
		return into[rebuildDoc](t, f.send(request{method: "GET", path: "/v1/rebuilds/" + r.ID + "?wait=" + wait, as: "reader"}).want(t, http.StatusOK))
	}
	if got := get("10ms"); got.State != jobs.RebuildRunning || len(got.Images) != 1 {
		t.Errorf("after so long it is %+v", got)
	}
	ends := make(chan rebuildDoc)
	go func() { ends <- get("1h") }()
	done := r.Rebuild
	done.State = jobs.RebuildDone
	if ok, err := f.db.ChangeRebuild(t.Context(), r.Rebuild, done); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got := <-ends; got.State != jobs.RebuildDone || len(got.Images) != 1 {
		t.Errorf("at its end it is %+v", got)
	}
	r = into[rebuildDoc](t, f.post("operator", "/v1/rebuilds", `{"names":["base"]}`).want(t, http.StatusCreated))
	go func() { ends <- get("1h") }()
	f.server.Close()
	if got := <-ends; got.State != jobs.RebuildRunning {
		t.Errorf("at the end of the server it is %+v", got)
	}
	f.send(request{method: "GET", path: "/v1/rebuilds/" + r.ID + "?wait=2h", as: "reader"}).problem(t, "parameter_invalid")
	f.send(request{method: "GET", path: "/v1/rebuilds/none?wait=1h", as: "reader"}).want(t, http.StatusNotFound).problem(t, "not_found")
}
