package pages

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// paths has every page with something in place of its wildcards.
func paths(id string) map[string]string {
	all := map[string]string{}
	for _, r := range routes() {
		path := strings.NewReplacer("{$}", "", "{id}", id, "{path...}", "out", "{action}", "cancel", "{host}", "h1", "{order}", "drain").Replace(r.path)
		all[r.method+" "+r.path] = path
	}
	return all
}

// A visitor without a token, or with one that is no good, sees the form to sign in and nothing else.
func TestNoToken(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	all := paths(job.ID)
	for _, r := range routes() {
		if r.anyone {
			continue
		}
		path := all[r.method+" "+r.path]
		for _, cookie := range []string{"", "nonsense", "slipway_aaaaaaaaaa_wrong", f.tokens["old"], f.tokens["admin"] + "x"} {
			header := http.Header{}
			if cookie != "" {
				header.Set("Cookie", "slipway="+cookie)
			}
			a := f.visit("").send(r.method, path, nil, header).want(t, http.StatusSeeOther).lacks(t, "app")
			if !strings.HasPrefix(a.Header.Get("Location"), "/login?next=") {
				t.Errorf("%s %s leads to %s", r.method, path, a.Header.Get("Location"))
			}
		}
		// A token in the address counts for nothing, nor does that of the API.
		f.visit("").send(r.method, path+"?token="+f.tokens["admin"], nil, http.Header{"Authorization": {"Bearer " + f.tokens["admin"]}}).want(t, http.StatusSeeOther)
	}
}

// A page of strangers cannot make a browser change anything.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{})
	b := f.visit("admin")
	all := paths(job.ID)
	for _, r := range routes() {
		if r.method == http.MethodGet {
			continue
		}
		for _, header := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}} {
			b.send(r.method, all[r.method+" "+r.path], nil, header).want(t, http.StatusForbidden, "another site")
		}
	}
	if got, _ := f.svc.Get(t.Context(), job.ID); got.State != jobs.Queued {
		t.Errorf("the job is %s", got.State)
	}
}

// The cookie is out of reach of scripts and other sites, and with TLS of other hosts.
func TestSession(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	f.submit(jobs.Spec{Name: "app"})
	b := f.visit("")
	for _, text := range []string{"", "x", f.tokens["old"], f.tokens["admin"] + "x", f.tokens["submitter"]} {
		a := b.post("/login", url.Values{"token": {text}}).want(t, http.StatusUnprocessableEntity, `role="alert"`)
		if a.Header.Get("Set-Cookie") != "" || len(text) > 1 && strings.Contains(a.body, text) {
			t.Errorf("%s: the answer has %v", text, a.Header)
		}
	}
	a := b.post("/login", url.Values{"token": {f.tokens["reader"]}, "next": {"/hosts"}}).want(t, http.StatusSeeOther)
	if a.Header.Get("Location") != "/hosts" {
		t.Errorf("leads to %s", a.Header.Get("Location"))
	}
	for _, part := range []string{"slipway=slipway_", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} {
		if !strings.Contains(a.Header.Get("Set-Cookie"), part) {
			t.Errorf("no %s in %s", part, a.Header.Get("Set-Cookie"))
		}
	}
	tls := f.visit("").send(http.MethodPost, "/login", url.Values{"token": {f.tokens["reader"]}}, http.Header{"X-Forwarded-Proto": {"https"}})
	if c := tls.Header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-slipway=") || !strings.Contains(c, "Secure") {
		t.Errorf("with TLS: %s", c)
	}
	b.get("/jobs").want(t, http.StatusOK, "app", "reader", "Sign out").lacks(t, "Cancel…")
	if err := f.db.RevokeToken(t.Context(), f.ids["reader"]); err != nil {
		t.Fatal(err)
	}
	b.get("/jobs").want(t, http.StatusSeeOther)
	b = f.visit("builder")
	b.post("/logout", nil).want(t, http.StatusSeeOther)
	b.get("/jobs").want(t, http.StatusSeeOther)
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/jobs?state=failed": "/jobs?state=failed", "": "/jobs", "https://evil.example/": "/jobs", "//evil.example": "/jobs",
		`/\evil.example`: "/jobs", "javascript:alert(1)": "/jobs", "/a\r\nb": "/jobs", "jobs": "/jobs",
	} {
		if got := local(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

// What a token may not do has no button, and is refused all the same.
func TestScopes(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	f.host(jobs.Host{Name: "h1", Worker: "red", Slots: 2, State: jobs.HostReady})
	job := f.submit(jobs.Spec{Name: "app"})
	for who, want := range map[string]struct{ submit, hosts, operate bool }{
		"reader": {false, true, false}, "builder": {true, true, false}, "operator": {false, true, true}, "admin": {true, true, true},
	} {
		b := f.visit(who)
		list, page := b.get("/jobs").want(t, http.StatusOK, "app"), b.get("/jobs/"+job.ID).want(t, http.StatusOK, "app")
		if got := strings.Contains(list.body, "Cancel…") && strings.Contains(page.body, "Cancel…"); got != want.submit {
			t.Errorf("%s has a button to cancel: %v", who, got)
		}
		if a := b.get("/hosts").want(t, http.StatusOK, "red"); strings.Contains(a.body, "Drain") != want.operate {
			t.Errorf("%s has a button to drain: %v", who, !want.operate)
		}
		if !want.submit {
			b.get("/jobs/"+job.ID+"/cancel").want(t, http.StatusForbidden)
			b.post("/jobs/"+job.ID+"/cancel", nil).want(t, http.StatusForbidden)
			b.post("/jobs/bulk", url.Values{"action": {"cancel"}, "id": {job.ID}, "confirm": {"1"}}).want(t, http.StatusForbidden)
		}
		if !want.operate {
			b.post("/hosts/h1/drain", nil).want(t, http.StatusForbidden)
		}
	}
	if got, _ := f.svc.Get(t.Context(), job.ID); got.State != jobs.Queued {
		t.Errorf("the job is %s", got.State)
	}
	if orders, _ := f.db.AllOrders(t.Context()); len(orders) != 0 {
		t.Errorf("orders: %v", orders)
	}
}

// A host's page says what is free of its disks, as long as its worker is heard of.
func TestFreeDisk(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	disks := []jobs.HostDisk{{Directory: "docker", Free: 3 << 30, Size: 100 << 30, Least: 2 << 30}, {Directory: "<b>", Free: 3 << 30, Size: 100 << 30, Least: 2 << 30}}
	f.host(jobs.Host{Name: "h1", Worker: "red", State: jobs.HostReady, Disks: disks})
	f.host(jobs.Host{Name: "h2", Worker: "blue", State: jobs.HostReady})
	a := f.visit("reader").get("/hosts").want(t, http.StatusOK, "docker, &lt;b&gt;: 3.0 GiB of 100.0 GiB free, at least 2.0 GiB wanted")
	if n := strings.Count(a.body, "<dt>Disk</dt>"); n != 1 {
		t.Errorf("%d hosts of two have disks", n)
	}
}

// A job of another tenant does not exist, on any page; hosts are not for tenants.
func TestTenants(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "hushhush", Tenant: "blue"})
	f.visit("blue").get("/jobs/"+job.ID).want(t, http.StatusOK, "hushhush")
	b := f.visit("green")
	b.get("/jobs").want(t, http.StatusOK).lacks(t, "hushhush", `href="/hosts`)
	all := paths(job.ID)
	for _, r := range routes() {
		if strings.Contains(r.path, "{id}") {
			b.send(r.method, all[r.method+" "+r.path], nil, nil).want(t, http.StatusNotFound).lacks(t, "hushhush")
		}
	}
	b.post("/jobs/bulk", url.Values{"action": {"cancel"}, "id": {job.ID}, "confirm": {"1"}}).want(t, http.StatusOK, "there is no such job")
	b.get("/hosts").want(t, http.StatusForbidden)
	b.post("/hosts/h1/drain", nil).want(t, http.StatusForbidden)
	b.get("/jobs?tenant=blue").want(t, http.StatusForbidden)
	if got, _ := f.svc.Get(t.Context(), job.ID); got.State != jobs.Queued {
		t.Errorf("the job is %s", got.State)
	}
}

// What is done on pages is in the trail, as what is done over the API.
func TestTrail(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	f.host(jobs.Host{Name: "h1", Worker: "red", Slots: 2, State: jobs.HostReady})
	job := f.submit(jobs.Spec{})
	b := f.visit("admin")
	b.post("/jobs/"+job.ID+"/cancel", nil).want(t, http.StatusSeeOther)
	b.post("/jobs/"+job.ID+"/retry", nil).want(t, http.StatusSeeOther)
	b.post("/hosts/h1/drain", url.Values{"reason": {"new disk"}}).want(t, http.StatusSeeOther)
	b.get("/hosts").want(t, http.StatusOK, "drain by admin: new disk", "Resume")
	b.post("/hosts/h1/resume", nil).want(t, http.StatusSeeOther)
	f.visit("reader").post("/jobs/"+job.ID+"/cancel", nil).want(t, http.StatusForbidden)
	deeds, err := f.db.Deeds(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	want := []access.Deed{
		{By: "reader", Action: "POST /v1/jobs/" + job.ID + "/cancel", Status: 403},
		{By: "admin", Action: "POST /v1/hosts/h1/resume", Status: 200},
		{By: "admin", Action: "POST /v1/hosts/h1/drain", Status: 200},
		{By: "admin", Action: "POST /v1/jobs/" + job.ID + "/retry", Status: 202},
		{By: "admin", Action: "POST /v1/jobs/" + job.ID + "/cancel", Status: 200},
	}
	if len(deeds) != len(want) {
		t.Fatalf("the trail is %v", deeds)
	}
	for i, d := range deeds {
		if d.By != want[i].By || d.Action != want[i].Action || d.Status != want[i].Status || d.From != "127.0.0.1" || d.Token == "" {
			t.Errorf("the trail has %+v, want %+v", d, want[i])
		}
	}
}

// A server without tokens has pages without signing in, for what no stranger's page can send.
func TestOpen(t *testing.T) {
	t.Parallel()
	f := newFarm(t, true, nil)
	f.submit(jobs.Spec{Name: "app"})
	b := f.visit("")
	b.get("/jobs").want(t, http.StatusOK, "app", "Cancel…").lacks(t, "Sign out")
	b.get("/login").want(t, http.StatusSeeOther)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.http.URL+"/jobs", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	resp, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a name that was made to lead here: %d", resp.StatusCode)
	}
}

// Every page allows what it consists of and nothing else, and has no code or style in it.
func TestPolicy(t *testing.T) {
	t.Parallel()
	f := newFarm(t, false, nil)
	job := f.submit(jobs.Spec{Name: "app"})
	f.claim(job.ID).finish(jobs.Result{State: jobs.Succeeded})
	b := f.visit("admin")
	for _, path := range []string{"/jobs", "/jobs?view=failures", "/jobs/" + job.ID, "/jobs/" + job.ID + "/retry", "/hosts", "/jobs/none", "/jobs?state=x"} {
		a := b.get(path)
		if got := a.Header.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: %s", path, got)
		}
		a.lacks(t, " style=", "<style", "<script>", " onclick", "http://www", "https://")
	}
	// The API has its own, and answers as without pages.
	a := b.get("/v1/jobs").want(t, http.StatusUnauthorized, "/problems/unauthorized")
	if got := a.Header.Get("Content-Security-Policy"); got != "default-src 'none'; frame-ancestors 'none'" {
		t.Errorf("the API: %s", got)
	}
}
