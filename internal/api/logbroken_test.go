package api

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A stored log that breaks off, with a live tail that is gone, ends with a gap: its reader is
// told that it was longer.
func TestStoredLogBreaksOff(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for _, within := range []int{0, 5} { // of a frame
		f.storedLogBreaksOff(within)
	}
}

func (f *farm) storedLogBreaksOff(within int) {
	t := f.t
	w := f.claim(f.submit("submitter").ID)
	half := 0
	for i := range 100 {
		w.write(jobs.Stdout, fmt.Sprintf("line %d\n", i))
		if i == 50 {
			half = len(w.Log) + within
		}
	}
	whole := w.Log
	w.Log = bytes.Clone(whole[:half]) // what the store has
	w.finish(jobs.Result{State: jobs.Succeeded})
	job, err := f.db.Get(t.Context(), w.job.ID)
	if err != nil {
		t.Fatal(err)
	}
	job.Result.Log.Size = int64(len(whole))
	f.rewrite(job)
	f.redis.Del("slipway:{" + job.ID + "}:log")
	for _, query := range []string{"", "?follow"} {
		r := f.send(request{method: "GET", path: "/v1/jobs/" + job.ID + "/logs" + query, as: "reader"}).want(t, http.StatusOK)
		if text := string(r.body); !strings.HasPrefix(text, "line 0\n") || !strings.Contains(text, "[gap: ") || strings.Contains(text, "line 99\n") {
			t.Errorf("the log%s ends with %q", query, text[max(0, len(text)-60):])
		}
	}
}

// A log that is followed when its server ends is cut off: the reader is not told that it is done.
func TestFollowEndsWithTheServer(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "jsonl", "sse"} {
		f := newFarm(t, nil)
		w := f.claim(f.submit("submitter").ID)
		w.write(jobs.Stdout, "first\n")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.http.URL+"/v1/jobs/"+w.job.ID+"/logs?follow&format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+f.tokens["reader"])
		resp, err := f.http.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		time.AfterFunc(100*time.Millisecond, f.server.Close)
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err == nil || !strings.Contains(b.String(), "first") {
			t.Errorf("%s: the log ends as if it were whole, with %q", format, b.String())
		}
	}
}

// A HEAD of a log that is followed is answered at once, and takes no slot.
func TestHeadFollowsNothing(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	w := f.claim(f.submit("submitter").ID)
	w.write(jobs.Stdout, "first\n")
	start := time.Now()
	for _, format := range []string{"text", "jsonl", "sse"} {
		f.send(request{method: "HEAD", path: "/v1/jobs/" + w.job.ID + "/logs?follow&format=" + format, as: "reader"}).want(t, http.StatusOK)
	}
	if took := time.Since(start); took > 5*time.Second || len(f.server.feeds.open) != 0 {
		t.Errorf("answered after %s, with %d feeds", took, len(f.server.feeds.open))
	}
}
