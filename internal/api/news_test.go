package api

import (
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// All who wait for news of a job hold one connection to Redis together, and hear of what
// happens when it does.
func TestNewsForMany(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	w := f.claim(f.submit("submitter").ID)
	get := func(after newsPlace, wait string) news {
		query := url.Values{"event": {after.Event}, "log": {after.Log}, "wait": {wait}}
		return into[news](t, f.send(request{method: "GET", path: "/v1/jobs/" + w.job.ID + "/news?" + query.Encode(), as: "reader"}).want(t, http.StatusOK))
	}
	seen := get(newsPlace{}, "10s")
	if len(seen.Events) != 2 {
		t.Fatalf("at first there are %+v", seen)
	}
	began := time.Now()
	if none := get(seen.Next, "1s"); len(none.Events) > 0 || time.Since(began) < time.Second {
		t.Errorf("after %s there are %+v", time.Since(began), none)
	}
	const many = 20
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if n := get(seen.Next, "10s"); len(n.Events) != 1 || n.Events[0].Type != jobs.EventFinished {
				t.Errorf("the news are %+v; want the end", n)
			}
		})
	}
	busy := func() uint32 { s := f.base.Client.PoolStats(); return s.TotalConns - s.IdleConns }
	for deadline := time.Now().Add(5 * time.Second); f.server.feeds.followers(w.job.ID) < many || busy() > 1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait with %d connections to Redis; want %d with 1", f.server.feeds.followers(w.job.ID), busy(), many)
		}
		<-time.After(5 * time.Millisecond)
	}
	w.finish(jobs.Result{State: jobs.Succeeded})
	all.Wait()
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("they heard of it after %s", took)
	}
}

// followers is how many follow a job.
func (fs *feeds) followers(id string) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.open[id]; f != nil {
		return f.followers
	}
	return 0
}
