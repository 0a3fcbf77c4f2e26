package api

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// One token cannot take what waits, follows and uploads the others may have.
func TestSlotsOfOneToken(t *testing.T) {
	t.Parallel()
	s := slots{most: 5}
	for i := range 5 {
		if got := s.take("greedy"); got != (i < 3) {
			t.Errorf("slot %d: %v", i, got)
		}
	}
	if !s.take("other") || !s.take("") || s.take("third") {
		t.Error("the rest is not for the others, or there is more than there is")
	}
	for range 3 {
		s.give("greedy")
	}
	if !s.take("third") || len(s.held) != 3 {
		t.Errorf("what was given back is not there: %v", s.held)
	}
}

// Followers that leave give back their slots, and the feeds end when nothing follows them.
func TestFollowersLeave(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Followers, o.Feeds = 4, 4 })
	ids := []string{f.submit("submitter").ID, f.submit("submitter").ID, f.submit("submitter").ID}
	open := func(id, as string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.http.URL+"/v1/jobs/"+id+"/logs?follow", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+f.tokens[as])
		resp, err := f.http.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first, second := open(ids[0], "reader"), open(ids[1], "reader")
	f.send(request{method: "GET", path: "/v1/jobs/" + ids[2] + "/logs?follow", as: "reader"}).want(t, http.StatusServiceUnavailable).problem(t, "busy")
	other := open(ids[2], "operator")
	if other.StatusCode != http.StatusForbidden {
		t.Errorf("an operator reads a log: %d", other.StatusCode)
	}
	_ = other.Body.Close()
	other = open(ids[2], "admin")
	if other.StatusCode != http.StatusOK {
		t.Errorf("another token follows nothing: %d", other.StatusCode)
	}
	for _, resp := range []*http.Response{first, second, other} {
		_ = resp.Body.Close()
	}
	left := func() int {
		f.server.follows.mu.Lock()
		defer f.server.follows.mu.Unlock()
		return f.server.follows.n
	}
	for until := time.Now().Add(10 * time.Second); left() > 0 && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := left(); n != 0 {
		t.Errorf("%d slots are held by those that left", n)
	}
	start := time.Now()
	f.server.Close()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
}

// A log that is read takes a slot, whether or not it is followed: each reader costs memory for as
// long as it takes.
func TestReadersTakeSlots(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Followers = 2 })
	w := f.claim(f.submit("submitter").ID)
	w.write(jobs.Stdout, "line\n")
	w.finish(jobs.Result{State: jobs.Succeeded})
	path := "/v1/jobs/" + w.job.ID
	for _, what := range []string{"/logs", "/logs?format=jsonl", "/logs?follow", "/steps"} {
		f.send(request{method: "GET", path: path + what, as: "reader"}).want(t, http.StatusOK)
		for range 2 {
			for !f.server.follows.take("") { // the request before may be giving it back
				runtime.Gosched()
			}
		}
		r := f.send(request{method: "GET", path: path + what, as: "reader"}).want(t, http.StatusServiceUnavailable)
		if r.problem(t, "busy"); r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", what, r.Header)
		}
		for range 2 {
			f.server.follows.give("")
		}
	}
}
