//go:build integration

package api

import (
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
)

// A header that does not come to its end keeps a connection for some seconds.
func TestHeaderStandsStill(t *testing.T) {
	t.Parallel()
	url := newFarm(t, nil).serve(Listen{Address: "127.0.0.1:0"})
	start := time.Now()
	if got := raw(t, url, "GET /livez HTTP/1.1\r\nHost: x\r\nA: b\r\n"); got != 0 && got != http.StatusRequestTimeout {
		t.Errorf("it is answered with %d", got)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it was waited for for %s", took)
	}
}

// A Redis that takes connections and does not answer ends each request in a bounded time, with
// a problem that says what it is, also when its connections are all taken.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	f := newFarm(t, nil)
	rdb := redis.NewClient(&redis.Options{Addr: ln.Addr().String(), PoolSize: 4, PoolTimeout: 3 * time.Second, MaxRetries: 1, ContextTimeoutEnabled: true})
	defer rdb.Close()
	db := records.New(rdb, records.Options{})
	// As enqueue serve has its connections.
	hung := newFarm(t, func(o *Options) {
		o.Jobs, o.Hosts, o.Tokens, o.Trail = jobs.NewService(db, queue.New(rdb), func() string { return "a" }), db, f.db, db // tokens are known
	})
	hung.tokens = f.tokens
	var wg sync.WaitGroup
	for range 3 { // more than there are connections
		for _, r := range []request{
			{method: "GET", path: "/v1/jobs", as: "reader"},
			{method: "GET", path: "/v1/queues", as: "reader"},
			{method: "POST", path: "/v1/jobs?image=a", as: "submitter"},
			{method: "GET", path: "/v1/jobs/00000000-0000-7000-8000-000000000000?wait=1m", as: "reader"},
		} {
			wg.Go(func() {
				start := time.Now()
				resp := hung.send(r)
				if took := time.Since(start); took > 25*time.Second {
					t.Errorf("%s %s: %s", r.method, r.path, took)
				}
				if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
					t.Errorf("%s %s: %d %s", r.method, r.path, resp.StatusCode, resp.body)
					return
				}
				resp.problem(t, "redis_unavailable")
			})
		}
	}
	wg.Wait()
}
