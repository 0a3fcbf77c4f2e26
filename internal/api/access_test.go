package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// concrete is the path of a route with something in place of its wildcards.
func concrete(path string, ids map[string]string) string {
	for name, id := range ids {
		path = strings.NewReplacer("{"+name+"}", id, "{"+name+"...}", id).Replace(path)
	}
	if path == "/v1/events" { // which ends
		path += "?for=0s"
	}
	return path
}

// Every route asks for its scope, and for nothing else; a route that is open asks for no token.
func TestScopes(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	own := f.submit("blue")
	for _, r := range routes() {
		// A job that does not exist: what is allowed has to find that out.
		path := concrete(r.path, map[string]string{
			"id": "none", "path": "x", "digest": "none", "upload": "none", "host": "none", "queue": "NONE", "name": "none", "rebuild": "none", "token": "none", "kind": "none",
		})
		for who := range principals() {
			p := principals()[who]
			status := f.send(request{method: r.method, path: path, as: who, body: strings.NewReader("{")}).StatusCode
			var want string
			switch allowed := (r.scope == valid || (access.Principal{Scopes: p.Scopes}).May(r.scope)) && !(r.farm && p.Tenant != ""); {
			case r.scope == "":
				want = "open"
			case who == "old":
				want = "401"
			case allowed:
				want = "allowed"
			default:
				want = "403"
			}
			got := fmt.Sprint(status)
			if status != http.StatusUnauthorized && status != http.StatusForbidden {
				got = "allowed"
				if r.scope == "" {
					got = "open"
				}
			}
			if got != want {
				t.Errorf("%s %s as %s: %d, want %s", r.method, r.path, who, status, want)
			}
		}
		for _, header := range []string{"", "Bearer", "Bearer ", "Basic dTpw", "Bearer nonsense", "Bearer slipway_aaaaaaaaaa_wrong", f.tokens["admin"], "Bearer " + f.tokens["admin"] + "x"} {
			resp := f.send(request{method: r.method, path: path, header: http.Header{"Authorization": {header}}})
			if open := resp.StatusCode != http.StatusUnauthorized; open != (r.scope == "") {
				t.Errorf("%s %s with %q: %d", r.method, r.path, header, resp.StatusCode)
			}
			if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %q: no WWW-Authenticate", r.method, r.path, header)
			}
		}
	}
	if job, err := f.db.Get(t.Context(), own.ID); err != nil || job.State != jobs.Queued {
		t.Errorf("the job is %s (%v)", job.State, err)
	}
}

// A job of another tenant does not exist, on any route, nor in a listing.
func TestTenants(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	blue, free := f.submit("blue"), f.submit("submitter")
	if blue.Spec.Tenant != "blue" {
		t.Fatalf("the job's tenant is %q", blue.Spec.Tenant)
	}
	f.claim(blue.ID).finish(jobs.Result{State: jobs.Succeeded})
	n := 0
	for _, r := range routes() {
		if !strings.Contains(r.path, "{id}") {
			continue
		}
		n++
		path := concrete(r.path, map[string]string{"id": blue.ID, "path": "x"})
		// The answer is the same, letter by letter, as about a job that is not there.
		theirs := f.send(request{method: r.method, path: path, as: "green"}).want(t, http.StatusNotFound)
		theirs.problem(t, "job_not_found")
		none := f.send(request{method: r.method, path: strings.ReplaceAll(path, blue.ID, "00000000-0000-7000-8000-000000000000"), as: "green"})
		if a, b := strings.ReplaceAll(string(theirs.body), blue.ID, "ID"), strings.ReplaceAll(string(none.body), "00000000-0000-7000-8000-000000000000", "ID"); a != b {
			t.Errorf("%s %s tells a job of another tenant from none:\n%s%s", r.method, r.path, a, b)
		}
	}
	if n < 10 {
		t.Errorf("%d routes are about a job", n)
	}
	for who, want := range map[string][]string{"blue": {blue.ID}, "green": {}, "reader": {free.ID, blue.ID}} {
		var got []string
		for _, j := range into[page](t, f.send(request{method: "GET", path: "/v1/jobs", as: who}).want(t, http.StatusOK)).Jobs {
			got = append(got, j.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s sees %v, want %v", who, got, want)
		}
	}
	f.send(request{method: "POST", path: "/v1/jobs", as: "green", body: strings.NewReader(`{"tenant":"blue","run":{"image":"a"}}`)}).want(t, http.StatusForbidden).problem(t, "forbidden")
	f.send(request{method: "GET", path: "/v1/jobs?tenant=blue", as: "green"}).want(t, http.StatusForbidden).problem(t, "forbidden")
	f.send(request{method: "GET", path: "/v1/jobs?tenant=blue", as: "blue"}).want(t, http.StatusOK)
}

// A token that is revoked is refused from the next request on, and no answer has the hash or
// the text of one that is there.
func TestTokens(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	made := into[access.ShownToken](t, f.send(request{
		method: "POST", path: "/v1/tokens", as: "admin", body: strings.NewReader(`{"name":"ci","scopes":["read"],"tenant":"blue","expires_in":"1h"}`),
	}).want(t, http.StatusCreated))
	f.tokens["ci"] = made.Text
	who := into[access.Principal](t, f.send(request{method: "GET", path: "/v1/whoami", as: "ci"}).want(t, http.StatusOK))
	if who.Name != "ci" || who.Tenant != "blue" || who.Token != made.ID {
		t.Errorf("the token is %+v", who)
	}
	list := f.send(request{method: "GET", path: "/v1/tokens", as: "admin"}).want(t, http.StatusOK)
	for _, text := range f.tokens {
		if _, secret, _ := access.Split(text); strings.Contains(string(list.body), secret) {
			t.Error("the list has the text of a token")
		}
	}
	if kept, _ := f.db.Token(t.Context(), made.ID); kept.Hash == "" || strings.Contains(string(list.body), kept.Hash) {
		t.Error("the list has a hash, or none is kept")
	}
	f.send(request{method: "DELETE", path: "/v1/tokens/" + made.ID, as: "admin"}).want(t, http.StatusNoContent)
	f.send(request{method: "DELETE", path: "/v1/tokens/" + made.ID, as: "admin"}).want(t, http.StatusNotFound).problem(t, "not_found")
	f.send(request{method: "GET", path: "/v1/whoami", as: "ci"}).want(t, http.StatusUnauthorized).problem(t, "unauthorized")
	for _, body := range []string{`{}`, `{"name":"a"}`, `{"name":"a","scopes":["all"]}`, `{"name":"a","scopes":["admin"],"tenant":"blue"}`, `{"name":"a","scopes":["read"],"expires_in":"-1h"}`, `[]`} {
		f.send(request{method: "POST", path: "/v1/tokens", as: "admin", body: strings.NewReader(body)}).want(t, http.StatusBadRequest).problem(t, "body_invalid")
	}
}

// What was changed, or was refused, is in the trail.
func TestTrail(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.submit("submitter")
	f.send(request{method: "POST", path: "/v1/jobs/" + job.ID + "/cancel", as: "reader"}).want(t, http.StatusForbidden)
	f.send(request{method: "POST", path: "/v1/jobs/" + job.ID + "/cancel", as: "submitter"}).want(t, http.StatusOK)
	f.send(request{method: "GET", path: "/v1/jobs", as: "reader"}).want(t, http.StatusOK)
	got := into[struct{ Trail []access.Deed }](t, f.send(request{method: "GET", path: "/v1/trail", as: "admin"}).want(t, http.StatusOK)).Trail
	var lines []string
	for _, d := range got {
		lines = append(lines, fmt.Sprintf("%s %d %s", d.By, d.Status, strings.ReplaceAll(d.Action, job.ID, "ID")))
		if d.From != "127.0.0.1" || d.Token == "" || d.At.IsZero() {
			t.Errorf("the trail has %+v", d)
		}
	}
	want := []string{"submitter 200 POST /v1/jobs/ID/cancel", "reader 403 POST /v1/jobs/ID/cancel", "submitter 202 POST /v1/jobs"}
	if fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("the trail is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// A server without tokens takes only what no page of strangers can make a browser send.
func TestOpen(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) {
		o.Open, o.Anyone = true, access.Principal{Name: "me", Scopes: access.Scopes()}
	})
	f.send(request{method: "POST", path: "/v1/jobs?image=a"}).want(t, http.StatusAccepted)
	for _, header := range []http.Header{{"Origin": {"https://evil.example"}}, {"Sec-Fetch-Site": {"cross-site"}}} {
		f.send(request{method: "POST", path: "/v1/jobs?image=a", header: header}).want(t, http.StatusForbidden).problem(t, "forbidden")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.http.URL+"/v1/jobs", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	resp, err := f.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a name that was made to lead here: %d", resp.StatusCode)
	}
	f.send(request{method: "GET", path: "/v1/jobs", as: "old"}).want(t, http.StatusUnauthorized) // a token that is sent counts
}

func TestRates(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Rate, o.Burst = 0.01, 3 })
	for range 3 {
		f.send(request{method: "GET", path: "/v1/jobs", as: "reader"}).want(t, http.StatusOK)
	}
	r := f.send(request{method: "GET", path: "/v1/jobs", as: "reader"}).want(t, http.StatusTooManyRequests)
	r.problem(t, "too_many_requests")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.send(request{method: "GET", path: "/v1/jobs", as: "blue"}).want(t, http.StatusOK)
}
