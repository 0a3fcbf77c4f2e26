package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	disk := jobs.HostDisk{Directory: "docker", Free: 3 << 30, Size: 100 << 30, Least: 2 << 30}
	for _, h := range []jobs.Host{{Name: "id-1", Worker: "one", State: jobs.HostReady, Every: jobs.Duration(time.Minute), Disks: []jobs.HostDisk{disk}}, {Name: "id-2", Worker: "two"}, {Name: "id-3", Worker: "two"}} {
		if err := f.db.Beat(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if list := into[struct{ Hosts []jobs.KnownHost }](t, f.send(request{method: "GET", path: "/v1/hosts", as: "reader"}).want(t, http.StatusOK)); len(list.Hosts) != 3 || !list.Hosts[0].Up || len(list.Hosts[0].Disks) != 1 || list.Hosts[0].Disks[0] != disk {
		t.Errorf("the hosts are %+v", list)
	}
	post := func(path, body string) reply {
		return f.send(request{method: "POST", path: path, as: "operator", body: strings.NewReader(body)})
	}
	h := into[jobs.KnownHost](t, post("/v1/hosts/one/drain", `{"reason":"new\ndisk","timeout":"5m"}`).want(t, http.StatusOK))
	if h.Order == nil || h.Order.Kind != jobs.OrderDrain || h.Order.By != "operator" || h.Order.Reason != "new disk" || h.Order.Timeout.D() != 5*time.Minute {
		t.Errorf("drained: %+v", h.Order)
	}
	if h = into[jobs.KnownHost](t, post("/v1/hosts/id-1/cordon", ``).want(t, http.StatusOK)); h.Order.Kind != jobs.OrderCordon {
		t.Errorf("cordoned: %+v", h.Order)
	}
	if h = into[jobs.KnownHost](t, post("/v1/hosts/one/resume", ``).want(t, http.StatusOK)); h.Order != nil {
		t.Errorf("resumed: %+v", h.Order)
	}
	if h = into[jobs.KnownHost](t, f.send(request{method: "GET", path: "/v1/hosts/one", as: "reader"}).want(t, http.StatusOK)); h.Order != nil || h.Name != "id-1" {
		t.Errorf("the host is %+v", h)
	}
	post("/v1/hosts/two/drain", ``).want(t, http.StatusNotFound).problem(t, "not_found")
	post("/v1/hosts/none/drain", ``).want(t, http.StatusNotFound).problem(t, "not_found")
	post("/v1/hosts/one/cordon", `{"timeout":"5m"}`).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	post("/v1/hosts/one/drain", `{"timeout":"-5m"}`).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	post("/v1/hosts/one/drain", `{"reason":"`+strings.Repeat("a", jobs.MaxReason+1)+`"}`).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	post("/v1/hosts/one/drain", `{"why":"a"}`).want(t, http.StatusBadRequest).problem(t, "body_invalid")
}

func TestQueues(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	f.submit("submitter")
	doc := into[queuesDoc](t, f.send(request{method: "GET", path: "/v1/queues", as: "reader"}).want(t, http.StatusOK))
	if len(doc.Queues) != 1 || doc.Queues[0].Waiting != 1 || doc.Queues[0].Blocker == "" {
		t.Errorf("the queues are %+v", doc)
	}
	post := func(path, body string) reply {
		return f.send(request{method: "POST", path: path, as: "operator", body: strings.NewReader(body)})
	}
	paused := into[struct{ Paused []jobs.Pause }](t, post("/v1/queues/builds/pause", `{"reason":"night","priority":"low"}`).want(t, http.StatusOK)).Paused
	if len(paused) != 1 || paused[0].By != "operator" || paused[0].Priority != jobs.PriorityLow || paused[0].Reason != "night" {
		t.Errorf("paused are %+v", paused)
	}
	if paused = into[struct{ Paused []jobs.Pause }](t, post("/v1/queues/builds/pause", ``).want(t, http.StatusOK)).Paused; len(paused) != 3 {
		t.Errorf("paused are %+v", paused)
	}
	if paused = into[struct{ Paused []jobs.Pause }](t, post("/v1/queues/builds/resume", ``).want(t, http.StatusOK)).Paused; len(paused) != 0 {
		t.Errorf("resumed, paused are %+v", paused)
	}
	post("/v1/queues/No/pause", ``).want(t, http.StatusNotFound).problem(t, "not_found")
	post("/v1/queues/builds/pause", `{"priority":"urgent"}`).want(t, http.StatusBadRequest).problem(t, "body_invalid")
}

func TestWhy(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.submit("submitter")
	why := into[jobs.Why](t, f.send(request{method: "GET", path: "/v1/jobs/" + job.ID + "/why", as: "reader"}).want(t, http.StatusOK))
	if why.Blocker == "" || why.Text == "" {
		t.Errorf("why is %+v", why)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	made := jobs.Recipe{Name: "app", Job: "job-1", Made: time.Now().UTC(), Spec: jobs.Spec{Name: "app"}, ImageID: "sha256:" + zeros}
	if _, err := f.db.Learn(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	if err := f.db.KeepBase(t.Context(), jobs.Base{Ref: "docker.io/library/alpine:3", Checked: time.Now().UTC()}); err != nil {
		t.Fatal(err)
	}
	if err := f.db.BeginRebuild(t.Context(), jobs.Rebuild{ID: "r1", Plan: "p", Priority: jobs.PriorityLow, State: jobs.RebuildRunning, Created: time.Now().UTC()},
		[]jobs.RebuildImage{{Name: "app", Wave: 1, Because: "its base has moved", State: jobs.ImageWaiting}}); err != nil {
		t.Fatal(err)
	}
	get := func(path string) reply { return f.send(request{method: "GET", path: path, as: "reader"}) }
	if all := into[struct{ Recipes []jobs.Recipe }](t, get("/v1/recipes").want(t, http.StatusOK)); len(all.Recipes) != 1 {
		t.Errorf("the recipes are %+v", all)
	}
	if r := into[jobs.Recipe](t, get("/v1/recipes/app").want(t, http.StatusOK)); r.Job != "job-1" {
		t.Errorf("the recipe is %+v", r)
	}
	get("/v1/recipes/none").want(t, http.StatusNotFound).problem(t, "not_found")
	if all := into[struct{ Bases []jobs.Base }](t, get("/v1/bases").want(t, http.StatusOK)); len(all.Bases) != 1 {
		t.Errorf("the bases are %+v", all)
	}
	if all := into[struct{ Rebuilds []jobs.Rebuild }](t, get("/v1/rebuilds").want(t, http.StatusOK)); len(all.Rebuilds) != 1 {
		t.Errorf("the rebuilds are %+v", all)
	}
	if r := into[rebuildDoc](t, get("/v1/rebuilds/r1").want(t, http.StatusOK)); len(r.Images) != 1 {
		t.Errorf("the rebuild is %+v", r)
	}
	get("/v1/rebuilds/none").want(t, http.StatusNotFound).problem(t, "not_found")
}

// What is open to all tells nothing of the farm.
func TestMeta(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk at /srv/secret is away")
	var trouble error
	f := newFarm(t, func(o *Options) { o.Ready = func(context.Context) error { return trouble } })
	get := func(path string) reply { return f.send(request{method: "GET", path: path}) }
	for _, path := range []string{"/livez", "/readyz", "/openapi.yaml", "/schema.json"} {
		if r := get(path).want(t, http.StatusOK); len(r.body) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	trouble = broken
	if r := get("/readyz").want(t, http.StatusServiceUnavailable); strings.Contains(string(r.body), "secret") {
		t.Errorf("not ready: %s", r.body)
	}
	for _, p := range own() {
		if r := get("/problems/"+p.Type).want(t, http.StatusOK); !strings.Contains(string(r.body), p.Title) {
			t.Errorf("%s is described as %s", p.Type, r.body)
		}
	}
	for _, k := range kinds() {
		get("/problems/"+string(k)).want(t, http.StatusOK)
	}
	get("/problems/none").want(t, http.StatusNotFound).problem(t, "not_found")
	get("/").want(t, http.StatusNotFound).problem(t, "not_found")
	r := f.send(request{method: "DELETE", path: "/v1/jobs"}).want(t, http.StatusMethodNotAllowed)
	r.problem(t, "method_not_allowed")
	if r.Header.Get("Allow") != "POST, GET" {
		t.Errorf("Allow: %s", r.Header.Get("Allow"))
	}
	for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy"} {
		if r.Header.Get(name) == "" {
			t.Errorf("an answer has no %s", name)
		}
	}
}

// A Redis that is away is told as that, and what was asked may be asked again.
func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	f.redis.Close()
	r := f.send(request{method: "GET", path: "/v1/jobs", as: "reader"}).want(t, http.StatusServiceUnavailable)
	if r.problem(t, "redis_unavailable"); r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
