package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
)

// tickets is a queue that can lose what was pushed.
type tickets struct {
	jobs.Queue // only producers ask for pauses and places
	pushed     []jobs.Ticket
	lost       bool
	// strays are what Tidy finds, tidied is how often it looked.
	strays []jobs.Delivery
	more   bool
	tidied int
	// discarded are tickets of ended jobs.
	discarded []string
}

func (q *tickets) Push(_ context.Context, t ...jobs.Ticket) error {
	q.pushed = append(q.pushed, t...)
	return nil
}

func (q *tickets) Missing(context.Context, jobs.Ticket) (bool, error) { return q.lost, nil }

func (q *tickets) Listed(context.Context) (map[string]string, int, error) {
	places := map[string]string{}
	for _, t := range q.pushed {
		if !q.lost {
			places[t.ID] = t.ID
		}
	}
	return places, 1, nil
}

func (q *tickets) Discard(_ context.Context, places ...string) error {
	q.discarded = append(q.discarded, places...)
	return nil
}

func (q *tickets) Tidy(ctx context.Context, accept jobs.Handler) (bool, error) {
	q.tidied++
	for len(q.strays) > 0 && accept(ctx, q.strays[0]) == nil {
		q.strays = q.strays[1:]
	}
	return q.more, nil
}

// farm is a store on an embedded Redis whose clock the test moves, with a
// reconciler that has led it for a while.
type farm struct {
	*records.DB
	*reconcile.Reconciler
	queue *tickets
	told  *told
	rdb   redis.UniversalClient
	move  func(time.Duration)
}

// told is what metrics are told.
type told struct {
	ended []string
	lost  map[string]int
}

func (o *told) Ended(e jobs.EndedJob) {
	kind := jobs.Kind("")
	if f := e.Job.Result.Failure; f != nil {
		kind = f.Kind
	}
	o.ended = append(o.ended, e.Job.Spec.Queue+" "+string(e.State)+" "+string(kind))
}

func (o *told) Lost(host, worker string) { o.lost[host+" "+worker]++ }

func newFarm(t *testing.T) *farm {
	t.Helper()
	server := miniredis.RunT(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := &farm{queue: &tickets{}, told: &told{lost: map[string]int{}}, move: func(d time.Duration) {
		now = now.Add(d)
		server.SetTime(now)
		server.FastForward(d)
	}}
	f.move(0)
	f.rdb = redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = f.rdb.Close() })
	f.DB = records.New(f.rdb, records.Options{Retention: records.Retention{Age: time.Hour, Count: 100}})
	f.Reconciler = reconcile.New(nil, f.DB, f.queue, "leader", reconcile.Options{Observer: f.told})
	f.pass(t)
	f.move(time.Minute)
	return f
}

func (f *farm) pass(t *testing.T) {
	t.Helper()
	if err := f.Pass(t.Context()); err != nil {
		t.Fatalf("Pass: %v", err)
	}
}

func (f *farm) submit(t *testing.T, spec jobs.Spec) jobs.Job {
	t.Helper()
	job := jobs.NewJob("job-"+spec.Name, spec.Normalize())
	if _, err := f.Create(t.Context(), []jobs.Job{job}); err != nil {
		t.Fatal(err)
	}
	return f.get(t, job.ID)
}

func (f *farm) get(t *testing.T, id string) jobs.Job {
	t.Helper()
	job, err := f.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func runSpec(name string) jobs.Spec {
	return jobs.Spec{Name: name, Labels: map[string]string{"k": "v"}, Run: &jobs.Run{Image: "busybox"}}
}

func owner(nonce string) jobs.Owner {
	return jobs.Owner{Worker: "w", Host: "h", Nonce: nonce, Lease: 90 * time.Second}
}

// The promises that need a reconciler, in the words of the shared suite.
func TestClaims(t *testing.T) {
	t.Parallel()
	jobstest.TestClaims(t, func(t *testing.T) jobstest.DB {
		f := newFarm(t)
		return jobstest.DB{Records: f.DB, Claims: f.DB, Advance: f.move, Reconcile: f.Pass}
	})
}

func TestMissingTicketIsIssuedAgain(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t, runSpec("a"))
	f.queue.lost = true

	f.pass(t)
	if len(f.queue.pushed) != 0 {
		t.Fatalf("a fresh job got another ticket: %+v; its producer may be enqueueing it right now", f.queue.pushed)
	}
	f.move(11 * time.Second)
	f.pass(t)
	want := job.Ticket()
	want.Seq = 2
	if len(f.queue.pushed) != 1 || f.queue.pushed[0] != want {
		t.Fatalf("pushed %+v; want %+v", f.queue.pushed, want)
	}
	f.queue.lost = false
	f.pass(t)
	if len(f.queue.pushed) != 1 {
		t.Errorf("pushed %+v; want no ticket while there is one", f.queue.pushed)
	}
}

func TestDeadOwnerLosesTheJobThreeTimes(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t, runSpec("a"))
	for i := range jobs.MaxLosses {
		claimed, err := f.Claim(t.Context(), job.Ticket(), owner("n"))
		if err != nil {
			t.Fatalf("claim %d: %v", i+1, err)
		}
		f.pass(t)
		if got := f.get(t, job.ID); got.State != jobs.Running {
			t.Fatalf("state %s before the lease has passed", got.State)
		}
		f.move(91 * time.Second)
		f.pass(t)
		f.move(10 * time.Second) // beyond the pause before the next attempt
		if err := f.Finish(t.Context(), job.ID, "n", jobs.Result{State: jobs.Succeeded, Attempt: claimed.Attempt}); err == nil {
			t.Fatal("a result of the dead owner was accepted")
		}
		job = f.get(t, job.ID)
	}
	if job.State != jobs.Failed || job.Result.Failure.Kind != jobs.KindPoisoned || job.Retries != 0 {
		t.Errorf("job is %s, %+v, %d retries; want it poisoned with none spent", job.State, job.Result.Failure, job.Retries)
	}
	if len(f.queue.pushed) != jobs.MaxLosses-1 {
		t.Errorf("tickets %+v; want one per new attempt", f.queue.pushed)
	}
	f.pass(t)
	o := owner("n")
	if lost := f.told.lost[o.Host+" "+o.Worker]; lost != jobs.MaxLosses || !slices.Equal(f.told.ended, []string{"builds failed poisoned"}) {
		t.Errorf("told of %d lost attempts (%v) and of the ends %q; want each loss, and one end", lost, f.told.lost, f.told.ended)
	}
}

// After Redis was away every lease looks passed; owners get time to renew.
func TestOwnersGetTimeAfterRedisWasAway(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t, runSpec("a"))
	if _, err := f.Claim(t.Context(), job.Ticket(), owner("n")); err != nil {
		t.Fatal(err)
	}
	f.move(5 * time.Minute)
	fresh := reconcile.New(nil, f.DB, f.queue, "leader", reconcile.Options{})
	if err := fresh.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Renew(t.Context(), job.ID, "n", 90*time.Second); err != nil {
		t.Fatalf("Renew: %v; want the owner to be given time", err)
	}
	f.move(30 * time.Second)
	if err := fresh.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.get(t, job.ID); got.State != jobs.Running || got.Attempt != 1 {
		t.Errorf("job is %s, attempt %d; want it untouched", got.State, got.Attempt)
	}
}

func TestQueueTimeout(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	spec := runSpec("a")
	spec.Timeouts.Queue = jobs.Duration(30 * time.Second)
	job := f.submit(t, spec)
	f.pass(t)
	f.move(31 * time.Second)
	f.pass(t)
	got := f.get(t, job.ID)
	if got.State != jobs.Expired || got.Result.Failure.Kind != jobs.KindQueueTimeout || got.Result.Failure.Hint == "" {
		t.Errorf("job is %s, %+v; want it expired with a hint", got.State, got.Result)
	}
	f.pass(t)
	if !slices.Equal(f.told.ended, []string{"builds expired queue_timeout"}) {
		t.Errorf("told of the ends %q; want this one, once", f.told.ended)
	}
}

func TestRetentionForgetsEverything(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t, runSpec("a"))
	if _, err := f.Cancel(t.Context(), job.ID, "an operator"); err != nil {
		t.Fatal(err)
	}
	f.move(time.Hour + 2*time.Minute)
	f.pass(t)
	keys, err := f.rdb.Keys(t.Context(), "*").Result()
	slices.Sort(keys)
	if want := []string{"slipway:leader", "slipway:{ended}:cursors", "slipway:{ended}:ids", "slipway:{ended}:moved:metrics:leader", "slipway:{ended}:moved:recipes:leader", "slipway:{ended}:stream"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("left in Redis: %q, %v; want the leader's lease and the ended jobs", keys, err)
	}
}

func TestOnlyOneLeads(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t, runSpec("a"))
	f.queue.lost = true
	f.pass(t) // leads from here
	f.move(11 * time.Second)
	second := reconcile.New(nil, f.DB, f.queue, "second", reconcile.Options{})
	if err := second.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.get(t, job.ID); got.Seq != 1 {
		t.Errorf("ticket %d was issued by a reconciler that does not lead", got.Seq)
	}
}

// During an upgrade, what newer workers wrote is for them.
func TestNewerRecords(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	job := f.submit(t, runSpec("a"))
	ctx := t.Context()
	f.rdb.HSet(ctx, "slipway:{"+job.ID+"}:job", "v", 99)
	f.rdb.Set(ctx, "slipway:{"+job.ID+"}:spec", `{"run":"of another shape"}`, 0)
	f.queue.lost = true
	f.move(time.Hour)
	f.pass(t)
	if now := f.get(t, job.ID); now.State != jobs.Queued || now.Seq != job.Seq || len(f.queue.pushed) > 0 {
		t.Errorf("the job is %s with ticket %d, and %+v were pushed; want it left alone", now.State, now.Seq, f.queue.pushed)
	}
	f.rdb.Set(ctx, "slipway:{"+job.ID+"}:spec", `{"run":{"image":"a"}}`, 0)
	if _, err := f.Claim(ctx, job.Ticket(), owner("n")); !errors.Is(err, jobs.ErrNewer) {
		t.Errorf("Claim = %v, want ErrNewer", err)
	}
}

// A record that cannot be read ends as such, one whose hash was deleted is made
// again from its document, and neither keeps the others waiting.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	odd, gone, good := f.submit(t, runSpec("a")), f.submit(t, runSpec("b")), f.submit(t, runSpec("c"))
	ctx := t.Context()
	f.rdb.Set(ctx, "slipway:{"+odd.ID+"}:spec", "{torn", 0)
	f.rdb.Del(ctx, "slipway:{"+gone.ID+"}:job")
	f.queue.lost = true
	f.move(2 * time.Minute)
	if page, err := f.List(ctx, jobs.Query{}); err != nil || len(page.Jobs) != 2 || page.Jobs[1].Damaged == "" {
		t.Errorf("List = %+v, %v; want the good job and the damaged one", page.Jobs, err)
	}
	f.pass(t)
	if job := f.get(t, odd.ID); job.State != jobs.Failed || job.Result.Failure.Kind != jobs.KindRecord {
		t.Errorf("the damaged job is %s, %+v; want it failed for that", job.State, job.Result)
	}
	if len(f.told.ended) != 1 || !strings.HasSuffix(f.told.ended[0], "failed record_damaged") {
		t.Errorf("told of the ends %q; want that of the damaged job", f.told.ended)
	}
	if len(f.queue.pushed) != 1 || f.queue.pushed[0].ID != good.ID {
		t.Errorf("pushed %+v; want a ticket for the good job", f.queue.pushed)
	}
	if job := f.get(t, gone.ID); job.State != jobs.Waiting || job.Spec.Name != "b" {
		t.Errorf("the job without a record is %s, %+v; want it waiting again", job.State, job.Spec)
	}
	f.move(time.Minute)
	f.pass(t)
	job, err := f.Claim(ctx, f.get(t, gone.ID).Ticket(), owner("n"))
	if err != nil {
		t.Fatalf("claim the restored job: %v", err)
	}
	res := jobs.Result{State: jobs.Succeeded, Attempt: job.Attempt}
	if err := f.Finish(ctx, gone.ID, "n", res); err != nil {
		t.Fatal(err)
	}
	f.rdb.Del(ctx, "slipway:{"+gone.ID+"}:job")
	f.move(2 * time.Minute)
	if _, _, err := f.Scan(ctx, jobs.Succeeded, 0, 10); err != nil {
		t.Fatal(err)
	}
	if job := f.get(t, gone.ID); job.State != jobs.Succeeded || job.Result == nil {
		t.Errorf("the ended job is %s, %+v after its record was deleted; want it as it was", job.State, job.Result)
	}
}

// A service whose host never reports its end does not stay up in the records.
func TestServiceOfAHostThatIsGone(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	spec := runSpec("serves")
	spec.Run.Keep = jobs.Duration(20 * time.Minute)
	job := f.submit(t, spec)
	if _, err := f.Claim(t.Context(), job.Ticket(), owner("n")); err != nil {
		t.Fatal(err)
	}
	now, err := f.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log := jobs.LogInfo{Digest: "sha256:it", Size: 3}
	r := jobs.Result{State: jobs.Succeeded, Host: "h", Attempt: 1, ContainerID: "c", KeepUntil: now.Add(20 * time.Minute), Log: log, Service: &jobs.ServiceStatus{State: jobs.ServiceUp}}
	if err := f.Finish(t.Context(), job.ID, "n", r); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		want  jobs.ServiceState
	}{{20 * time.Minute, jobs.ServiceUp}, {14 * time.Minute, jobs.ServiceUp}, {2 * time.Minute, jobs.ServiceLost}, {10 * time.Minute, jobs.ServiceLost}} {
		f.move(tt.after)
		f.pass(t)
		got := f.get(t, job.ID).Result
		want := log
		want.Missing = tt.want == jobs.ServiceLost // what came after it was ready
		if got.Service.State != tt.want || got.Log != want {
			t.Errorf("after %s more it is %s with the log %+v; want %s and %+v", tt.after, got.Service, got.Log, tt.want, want)
		}
	}
	if late, err := f.OverdueServices(t.Context(), now.Add(24*time.Hour)); err != nil || len(late) > 0 {
		t.Errorf("overdue are %v, %v; want none", late, err)
	}
}

// What plain producers pushed and no worker was given becomes a job. The queue is
// looked through once a minute, or at once when there is a lot.
func TestStrayTasks(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	spec := runSpec("a")
	stray := func(id string) jobs.Delivery {
		return jobs.Delivery{Ticket: jobs.Ticket{ID: id, Queue: "builds", Priority: jobs.PriorityLow}, Spec: &spec, GivenUp: true}
	}
	late := stray("late")
	late.StartBy = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.queue.strays = []jobs.Delivery{stray("one"), late}
	f.pass(t)
	if one := f.get(t, "one"); one.State != jobs.Queued || len(f.queue.pushed) != 1 || f.queue.pushed[0] != one.Ticket() {
		t.Errorf("the job is %s, and %+v were pushed; want it queued with a ticket", one.State, f.queue.pushed)
	}
	if job := f.get(t, "late"); job.State != jobs.Expired {
		t.Errorf("the job that is too late is %s; want it expired", job.State)
	}
	looks := func(after time.Duration, want int) {
		t.Helper()
		before := f.queue.tidied
		f.move(after)
		f.pass(t)
		if n := f.queue.tidied - before; n != want {
			t.Errorf("after %s it looked through the queue %d times, want %d", after, n, want)
		}
	}
	looks(5*time.Second, 0)
	f.queue.more = true
	looks(time.Minute, 1)
	looks(5*time.Second, 1)
	f.queue.more = false
	looks(5*time.Second, 1)
	looks(5*time.Second, 0)
	second := reconcile.New(nil, f.DB, f.queue, "second", reconcile.Options{})
	if before := f.queue.tidied; second.Pass(t.Context()) != nil || f.queue.tidied != before {
		t.Error("a reconciler that does not lead looked through the queue")
	}
}

// A farm may end more jobs between two passes than one batch has.
func TestOnePassForgetsAllThatIsDue(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	const old = 130
	batch := make([]jobs.Job, old)
	for i := range batch {
		batch[i] = jobs.Job{
			ID: fmt.Sprintf("job-%04d", i), Spec: jobs.Spec{Version: 1, Queue: "builds", Run: &jobs.Run{Image: "busybox"}},
			Result: &jobs.Result{State: jobs.Failed, Failure: jobs.Fail(jobs.KindTimeout, nil, "", "it took long")},
		}
	}
	if _, err := f.Create(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	f.move(2 * time.Hour) // the leader is gone by then
	next := reconcile.New(nil, f.DB, f.queue, "next", reconcile.Options{Batch: 50})
	if err := next.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if page, err := f.List(t.Context(), jobs.Query{}); err != nil || len(page.Jobs) > 0 {
		t.Errorf("%d jobs are left after one pass, %v; want none", len(page.Jobs), err)
	}
}
