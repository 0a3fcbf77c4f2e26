//go:build integration

package webhooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/webhooks"
)

// onRedis is a farm on a real Redis.
type onRedis struct {
	t      *testing.T
	server *hosttest.Redis
	rdb    redis.UniversalClient
	*records.DB
	*receiver
}

// newOnRedis makes a farm with one webhook on an empty Redis.
func newOnRedis(t *testing.T, server *hosttest.Redis) *onRedis {
	t.Helper()
	rdb := dial(t, server)
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	f := &onRedis{t: t, server: server, rdb: rdb, DB: records.New(rdb, records.Options{}), receiver: &receiver{t: t, keys: []string{secretOf('c')}}}
	if err := f.AddWebhook(t.Context(), ci()); err != nil {
		t.Fatal(err)
	}
	addLine(t, f, "job-1", "a", "b")
	return f
}

func dial(t *testing.T, server *hosttest.Redis) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(t.Context(), server.SocketURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// hooked has each command to Redis be a step.
type hooked struct{ s *steps }

func (h hooked) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hooked) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := h.s.do(cmd.FullName(), func() error { return next(ctx, cmd) })
		cmd.SetErr(err)
		return err
	}
}

func (h hooked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := h.s.do("pipeline", func() error { return next(ctx, cmds) })
		for _, c := range cmds {
			if err != nil {
				c.SetErr(err)
			}
		}
		return err
	}
}

// caller starts one, and returns what ends it and waits for it.
func (f *onRedis) caller(ctx context.Context, db *records.DB, nonce string, to http.RoundTripper) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		webhooks.New(nil, webhooks.Deps{Endings: db, Webhooks: db, Calls: db, Sender: senderTo(to)}, webhooks.Options{
			Nonce: nonce, Farm: "one", Every: 10 * time.Millisecond,
		}).Run(ctx)
	})
	return func() { cancel(); done.Wait() }
}

// delivered reports whether so many calls are.
func (f *onRedis) delivered(n int) bool {
	f.t.Helper()
	calls, err := f.Calls(f.t.Context(), "", 100)
	for _, c := range calls {
		if c.State == jobs.CallDelivered {
			n--
		}
	}
	return err == nil && n == 0
}

// passes lets the turn and the leases of a process that has died pass.
func (f *onRedis) passes() {
	f.t.Helper()
	ctx := f.t.Context()
	f.rdb.Del(ctx, "slipway:caller")
	for _, key := range []string{"slipway:{ended}:hookendpoints", "slipway:{ended}:hookdue:hook:ci"} {
		for _, member := range f.rdb.ZRange(ctx, key, 0, -1).Val() {
			f.rdb.ZIncrBy(ctx, key, -float64(time.Hour.Microseconds()), member)
		}
	}
}

// until waits until ok holds.
func (f *onRedis) until(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waited for %s", what)
		}
	}
}

// The processes that end a job and call webhooks die at each command to Redis and each
// request, from the worker's report on: each call is delivered, and those of one job in order.
func TestEachCommandIsTheLast(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t)
	var dead sync.WaitGroup // what is left of processes that can do nothing more
	defer dead.Wait()
	for _, fault := range []fault{diesBefore, diesAfter} {
		hit := map[string]int{}
		for at := 1; ; at++ {
			what := ""
			if !t.Run(fmt.Sprint(fault, " ", at), func(t *testing.T) { what = dieAt(t, server, at, fault, &dead) }) {
				return
			}
			if what == "" {
				break
			}
			hit[what]++
		}
		t.Logf("%s: %v", fault, hit)
		for _, what := range []string{"evalsha", "pipeline", "get", "hmget", "hgetall", "POST ci.example.com"} {
			if hit[what] == 0 {
				t.Errorf("%s: no %s", fault, what)
			}
		}
	}
}

func dieAt(t *testing.T, server *hosttest.Redis, at int, fault fault, dead *sync.WaitGroup) string {
	f := newOnRedis(t, server)
	ctx, die := context.WithCancel(t.Context())
	defer die()
	s := &steps{at: at, fault: fault, die: die}
	rdb := dial(t, server)
	rdb.AddHook(hooked{s})
	defer s.kill() // nothing of it acts on the next farm
	db := records.New(rdb, records.Options{})
	job := jobs.NewJob("job-1", jobs.Spec{Run: &jobs.Run{Image: "busybox"}}.Normalize())
	if _, err := f.Create(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Claim(t.Context(), job.Ticket(), jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	stop := func() {}
	if err := db.Finish(ctx, "job-1", "n", failed()); err == nil {
		stop = f.caller(ctx, db, "first", steppingTo{f.receiver, s})
	} else if err := f.Finish(t.Context(), "job-1", "n", failed()); err != nil { // the worker's journal has it
		t.Fatal(err)
	}
	f.until("the calls, or the death", func() bool { return ctx.Err() != nil || f.delivered(3) })
	die()
	dead.Go(stop)
	if s.hit() != "" {
		f.goesOn("second")
	}
	f.check()
	return s.hit()
}

// A producer, such as the HTTP API, cancels a job that waits, and dies at each command of that.
func TestProducerDiesWhileItCancels(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t)
	for _, fault := range []fault{diesBefore, diesAfter} {
		at := 1
		for died := true; died; at++ {
			if !t.Run(fmt.Sprint(fault, " ", at), func(t *testing.T) { died = cancelAt(t, server, at, fault) }) {
				return
			}
		}
		if at < 5 {
			t.Errorf("%s: it died at %d commands; want more", fault, at-2)
		}
	}
}

func cancelAt(t *testing.T, server *hosttest.Redis, at int, fault fault) (died bool) {
	f := newOnRedis(t, server)
	ctx, die := context.WithCancel(t.Context())
	defer die()
	s := &steps{at: at, fault: fault, die: die}
	rdb := dial(t, server)
	rdb.AddHook(hooked{s})
	if _, err := f.Create(t.Context(), []jobs.Job{jobs.NewJob("job-1", jobs.Spec{Run: &jobs.Run{Image: "busybox"}}.Normalize())}); err != nil {
		t.Fatal(err)
	}
	_, err := records.New(rdb, records.Options{}).Cancel(ctx, "job-1", "ada")
	if died = s.hit() != ""; (err != nil) != died {
		t.Fatalf("Cancel: %v, after %q", err, s.hit())
	}
	if died { // the producer asks again, as its answer did not come
		if _, err := f.Cancel(t.Context(), "job-1", "ada"); err != nil && !errors.Is(err, jobs.ErrFinished) {
			t.Fatal(err)
		}
	}
	f.goesOn("second")
	f.check()
	return died
}

// goesOn has another worker reconcile and call until all calls are delivered.
func (f *onRedis) goesOn(nonce string) {
	f.t.Helper()
	f.passes()
	ctx, end := context.WithCancel(f.t.Context())
	var done sync.WaitGroup
	r := reconcile.New(nil, f.DB, noTickets{Queue: jobstest.NewQueue()}, nonce, reconcile.Options{Interval: 50 * time.Millisecond})
	done.Go(func() { r.Run(ctx) })
	stop := f.caller(ctx, f.DB, nonce, f.receiver)
	f.until("the calls", func() bool { return f.delivered(3) })
	end()
	stop()
	done.Wait()
}

// noTickets is a queue whose tickets of plain producers are no business of the test.
type noTickets struct{ *jobstest.Queue }

func (noTickets) Tidy(context.Context, jobs.Handler) (bool, error) { return false, nil }

func (f *onRedis) check() {
	f.t.Helper()
	calls, err := f.Calls(f.t.Context(), "", 100)
	if err != nil {
		f.t.Fatal(err)
	}
	checkCalls(f.t, calls, 3)
	checkDeliveries(f.t, f.requests(), 3)
	checkOrder(f.t, f.requests(), "a", "b", "job-1")
	for _, key := range f.rdb.Keys(f.t.Context(), "slipway:{ended}:hook*").Val() {
		if strings.Contains(key, "due") || strings.Contains(key, "lines") || strings.Contains(key, "endpoints") || f.rdb.HExists(f.t.Context(), "slipway:{ended}:cursors", "!").Val() {
			f.t.Errorf("%s is left", key)
		}
	}
	if fields := f.rdb.HLen(f.t.Context(), "slipway:{ended}:hookcalls").Val(); fields != 3 {
		f.t.Errorf("%d calls are kept; want 3", fields)
	}
}

// Redis is killed at each step, and started again.
func TestRedisIsKilled(t *testing.T) {
	t.Parallel()
	server := hosttest.StartRedis(t)
	for at := 1; ; at++ {
		what := ""
		if !t.Run(fmt.Sprint("step ", at), func(t *testing.T) {
			f := newOnRedis(t, server)
			endJob(t, f, f, "job-1", jobs.Spec{}, failed())
			restart := func() (restore func()) {
				return func() {
					if err := server.Kill(); err != nil {
						t.Error(err)
					}
					if err := server.Start(); err != nil {
						t.Error(err)
					}
				}
			}
			s := &steps{at: at, fault: forgets, snapshot: restart}
			rdb := dial(t, server)
			rdb.AddHook(hooked{s})
			stop := f.caller(t.Context(), records.New(rdb, records.Options{}), "first", steppingTo{f.receiver, s})
			f.until("the calls", func() bool { return f.delivered(3) })
			stop()
			f.check()
			what = s.hit()
		}) || what == "" {
			t.Logf("%d steps", at-1)
			return
		}
	}
}
