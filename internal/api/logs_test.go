package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// event is a server-sent event.
type event struct{ name, id, data string }

// follow reads events of a log behind last until stop is true of one, and cuts the connection.
func (f *farm) follow(id, last string, stop func(event) bool) []event {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.http.URL+"/v1/jobs/"+id+"/logs", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.tokens["reader"])
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("follow: %d %s", resp.StatusCode, resp.Header)
	}
	var all []event
	var e event
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "" && e.name != "":
			all = append(all, e)
			if stop(e) {
				return all
			}
			e = event{}
		case name == "event":
			e.name = value
		case name == "id":
			e.id = value
		case name == "data":
			e.data = value
		}
	}
	return all
}

func never(event) bool { return false }

// A log that is followed through connections that are cut is whole, and nothing comes twice.
func TestFollowIsCut(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	w := f.claim(f.submit("submitter").ID)
	const lines = 3000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range lines {
			w.write(jobs.Stdout, fmt.Sprintf("line %d\n", i))
			if i%500 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		w.finish(jobs.Result{State: jobs.Succeeded})
	}()
	var text strings.Builder
	last, cuts, ended := "", 0, false
	for !ended && cuts < 20 {
		n := 0
		for _, e := range f.follow(w.job.ID, last, func(e event) bool { n++; return n > 400 && cuts < 5 }) {
			switch e.name {
			case "log":
				var got entry
				if err := json.Unmarshal([]byte(e.data), &got); err != nil || got.Place != e.id {
					t.Fatalf("event %+v: %v", e, err)
				}
				text.WriteString(got.Text)
				last = e.id
			case "done":
				ended = true
			}
		}
		cuts++
	}
	<-done
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if text.String() != want.String() || cuts < 4 || !ended {
		t.Errorf("through %d connections came %d bytes, want %d; ended: %v", cuts, text.Len(), want.Len(), ended)
	}
	// Also after the end, from the store.
	if all := f.follow(w.job.ID, last, never); len(all) != 1 || all[0].name != "done" {
		t.Errorf("behind the end come %d events", len(all))
	}
	if all := f.follow(w.job.ID, "", never); len(all) != lines+1 {
		t.Errorf("the stored log has %d events", len(all))
	}
}

// A job that waits is followed until it has a log, another attempt is told by the places, and
// the service that a job keeps belongs to its log.
func TestFollowALife(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.submit("submitter")
	got := make(chan []event, 1)
	go func() { got <- f.follow(job.ID, "", never) }()
	time.Sleep(50 * time.Millisecond)
	w := f.claim(job.ID)
	w.write(jobs.Stdout, "first\n")
	time.Sleep(50 * time.Millisecond)
	if _, err := f.db.Release(t.Context(), job.ID, nonce, jobs.Release{Reason: "drained"}); err != nil {
		t.Fatal(err)
	}
	w = f.claim(job.ID)
	w.write(jobs.Stderr, "second\n")
	w.write(jobs.Stdout, "\xff\xfe")
	w.finish(jobs.Result{State: jobs.Succeeded})
	var lines []string
	for _, e := range <-got {
		switch e.name {
		case "log":
			var en entry
			if err := json.Unmarshal([]byte(e.data), &en); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%d %s %s%s", en.Attempt, en.Stream, strings.TrimSpace(en.Text), en.Base64))
		case "done":
			lines = append(lines, "done")
		}
	}
	want := []string{"1 stdout first", "2 stderr second", "2 stdout //4=", "done"}
	if fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("followed %q, want %q", lines, want)
	}
}

func TestLogFormats(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	w := f.claim(f.submit("submitter").ID)
	w.write(jobs.BuildStatus, `{"vertexes":[{"digest":"sha256:a","name":"[1/1] FROM scratch","started":"2026-01-01T00:00:00Z","completed":"2026-01-01T00:00:00Z","cached":true}]}`)
	w.write(jobs.Stdout, "out without an end")
	w.write(jobs.Note, "a note\n")
	w.write(jobs.Stderr, "err \x1b[31mred\n")
	path := "/v1/jobs/" + w.job.ID + "/logs"
	get := func(query string) reply {
		return f.send(request{method: "GET", path: path + query, as: "reader"}).want(t, http.StatusOK)
	}
	const text = "#1 [1/1] FROM scratch\n#1 CACHED\nout without an end\na note\nerr \x1b[31mred\n"
	check := func(when string) {
		t.Helper()
		if r := get(""); string(r.body) != text || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s the log is %q as %s, want %q", when, r.body, r.Header.Get("Content-Type"), text)
		}
		lines := strings.Split(strings.TrimSpace(string(get("?format=jsonl").body)), "\n")
		if len(lines) != 4 {
			t.Fatalf("%s the log has the lines %q", when, lines)
		}
		var second entry
		if err := json.Unmarshal([]byte(lines[1]), &second); err != nil || second.Stream != "stdout" || second.Text != "out without an end" {
			t.Errorf("%s the second line is %s", when, lines[1])
		}
		if rest := string(get("?format=jsonl&after=" + second.Place).body); rest != lines[2]+"\n"+lines[3]+"\n" {
			t.Errorf("%s behind %s comes %s", when, second.Place, rest)
		}
		f.send(request{method: "HEAD", path: path, as: "reader"}).want(t, http.StatusOK)
	}
	check("while the job runs")
	w.finish(jobs.Result{State: jobs.Succeeded})
	check("after its end")
	if got := string(get("?follow").body); got != text {
		t.Errorf("followed after its end, the log is %q", got)
	}
	steps := into[stepsOf](t, f.send(request{method: "GET", path: "/v1/jobs/" + w.job.ID + "/steps", as: "reader"}).want(t, http.StatusOK))
	if len(steps.Build) != 1 || !steps.Build[0].Cached {
		t.Errorf("the steps are %+v", steps)
	}
	for _, query := range []string{"?format=html", "?after=x", "?after=1", "?after=%2b1:2", "?after=1:%2b2", "?attempt=0", "?follow=2", "?attempt=7&x=1"} {
		f.send(request{method: "GET", path: path + query, as: "reader"}).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	}
	f.send(request{method: "GET", path: path + "?after=x", as: "reader", header: http.Header{"Last-Event-Id": {"1:0"}}}).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	f.send(request{method: "GET", path: path + "?attempt=7", as: "reader"}).want(t, http.StatusNotFound).problem(t, "not_found")
	events := into[struct{ Events []jobs.Event }](t, f.send(request{method: "GET", path: "/v1/jobs/" + w.job.ID + "/events", as: "reader"}).want(t, http.StatusOK))
	if len(events.Events) < 3 {
		t.Errorf("the events are %+v", events)
	}
}

// A stored log that is not there is told, and what the live tail has comes in its place.
func TestLogIsLost(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	w := f.claim(f.submit("submitter").ID)
	w.write(jobs.Stdout, "live\n")
	w.finish(jobs.Result{State: jobs.Succeeded})
	job, err := f.db.Get(t.Context(), w.job.ID)
	if err == nil {
		err = f.blobs.Delete(t.Context(), job.Result.Log.Digest)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := "/v1/jobs/" + job.ID + "/logs"
	if r := f.send(request{method: "GET", path: path, as: "reader"}).want(t, http.StatusOK); string(r.body) != "live\n" {
		t.Errorf("the log is %q", r.body)
	}
	f.redis.Del("slipway:{" + job.ID + "}:log")
	f.send(request{method: "GET", path: path, as: "reader"}).want(t, http.StatusGone).problem(t, "content_not_found")
}

// The summary of a failure is as small as it is asked to be, and says the most important.
func TestFailure(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.submit("submitter")
	path := "/v1/jobs/" + job.ID + "/failure"
	f.send(request{method: "GET", path: path, as: "reader"}).want(t, http.StatusConflict).problem(t, "job_not_finished")
	fail := &jobs.Failure{Stage: jobs.StageRun, Kind: jobs.KindExitNonzero, Message: strings.Repeat("message ", 100), Cause: strings.Repeat("c", 500), Hint: strings.Repeat("h", 500)}
	for i := range 20 {
		fail.Tail = append(fail.Tail, fmt.Sprintf("line %d %s", i, strings.Repeat("x", 2000)))
	}
	f.claim(job.ID).finish(jobs.Result{State: jobs.Failed, Failure: fail})
	for _, most := range []int{1024, 4096, 20_000, 65_536} {
		r := f.send(request{method: "GET", path: fmt.Sprintf("%s?max_bytes=%d", path, most), as: "reader"}).want(t, http.StatusOK)
		sum := into[summary](t, r)
		if len(r.body) > most || sum.Kind != jobs.KindExitNonzero || sum.Message == "" || sum.Cut != (len(sum.Tail) < 20) {
			t.Errorf("with %d bytes at most: %d bytes, %d lines, cut: %v", most, len(r.body), len(sum.Tail), sum.Cut)
		}
		if n := len(sum.Tail); n > 0 && !strings.HasPrefix(sum.Tail[n-1], "line 19 ") {
			t.Errorf("the last line is %.20s", sum.Tail[n-1])
		}
	}
	r := f.send(request{method: "GET", path: path, as: "reader", header: http.Header{"Accept": {"text/plain"}}}).want(t, http.StatusOK)
	if !strings.Contains(string(r.body), "why: message") || !strings.Contains(string(r.body), "fault: user") {
		t.Errorf("as text: %s", r.body)
	}
	f.send(request{method: "GET", path: path + "?max_bytes=10", as: "reader"}).want(t, http.StatusBadRequest)
	well := f.submit("submitter")
	f.claim(well.ID).finish(jobs.Result{State: jobs.Succeeded})
	f.send(request{method: "GET", path: "/v1/jobs/" + well.ID + "/failure", as: "reader"}).want(t, http.StatusNotFound).problem(t, "not_found")
}
