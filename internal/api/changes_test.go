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

// listen sends what a principal hears of the farm's jobs.
func (f *farm) listen(as string) <-chan change {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.http.URL+"/v1/events", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.tokens[as])
	resp, err := f.http.Client().Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = resp.Body.Close() })
	heard, ready := make(chan change, 100), make(chan struct{})
	go func() {
		defer close(heard)
		event := ""
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case name == "event" && value == "ready":
				close(ready)
			case name == "event":
				event = value
			case name == "data" && event == "job":
				var c change
				if json.Unmarshal([]byte(value), &c) == nil {
					heard <- c
				}
			}
		}
	}()
	<-ready
	return heard
}

// Clients hear of the jobs that they may see, and the server stops to listen when none does.
func TestFarmEvents(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	all, green := f.listen("reader"), f.listen("green")
	time.Sleep(50 * time.Millisecond) // the subscription is on its way
	job := f.submit("blue")
	f.claim(job.ID).finish(jobs.Result{State: jobs.Failed, Failure: &jobs.Failure{Kind: jobs.KindOOM, Message: "m"}})
	own := f.submit("green")
	last := map[string]change{}
	for len(last) < 2 || last[job.ID].State != jobs.Failed {
		select {
		case c := <-all:
			last[c.ID] = c
		case <-time.After(10 * time.Second):
			t.Fatalf("heard of %v", last)
		}
	}
	if c := last[job.ID]; c.Kind != jobs.KindOOM || c.Tenant != "blue" || c.Worker != "w1" {
		t.Errorf("heard %+v", c)
	}
	select {
	case c := <-green:
		if c.ID != own.ID {
			t.Errorf("green hears of %+v", c)
		}
	case <-time.After(10 * time.Second):
		t.Error("green hears of nothing")
	}
	f.server.Close()
	for range all { // ends
	}
	f.server.changes.mu.Lock()
	defer f.server.changes.mu.Unlock()
	if n := len(f.server.changes.listeners); n != 0 {
		t.Errorf("%d listeners are left", n)
	}
}

// A listener that does not keep up is cut off, and others are not.
func TestSlowListener(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	slow, done := f.server.changes.listen(principalOf("reader"))
	defer done()
	quick, done := f.server.changes.listen(principalOf("reader"))
	defer done()
	go func() {
		for range quick.told { // keeps up
		}
	}()
	var found []jobs.Job
	for i := range changesKept + 1 {
		found = append(found, jobs.Job{ID: fmt.Sprint(i)})
	}
	f.server.changes.tell(found[:changesKept])
	time.Sleep(100 * time.Millisecond)
	f.server.changes.tell(found[changesKept:])
	select {
	case <-slow.lost:
	default:
		t.Error("the slow listener stays")
	}
	select {
	case <-quick.lost:
		t.Error("the quick listener was cut off")
	default:
	}
}
