//go:build integration

package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/worker"
)

// asynqFarm is a farm on a real Redis whose engine is a fake, with a producer that
// knows only asynq, and an operator who has asynq's tools.
type asynqFarm struct {
	*farm
	rdb     redis.UniversalClient
	dial    func() redis.UniversalClient
	records *records.DB
	tickets *queue.Queue
	plain   *asynq.Client
	look    *asynq.Inspector
	log     *logBuffer
	// down makes the making of records fail.
	down atomic.Bool
}

// logBuffer is a log that goroutines share.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// lines are those that contain the text.
func (l *logBuffer) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func newAsynqFarm(t *testing.T) *asynqFarm {
	t.Helper()
	server := hosttest.StartRedis(t)
	f := &asynqFarm{farm: newFarm(t), log: &logBuffer{}}
	f.dial = func() redis.UniversalClient {
		rdb, err := redisconn.Open(context.Background(), server.SocketURL())
		if err != nil {
			t.Fatal(err)
		}
		return rdb
	}
	f.rdb = f.dial()
	t.Cleanup(func() { _ = f.rdb.Close() })
	f.records = records.New(f.rdb, records.Options{})
	f.tickets = queue.New(f.rdb, jobs.DefaultQueue)
	f.svc = jobs.NewService(f.records, f.tickets, jobstest.NewIDs())
	f.plain = asynq.NewClient(asynq.RedisClientOpt{Network: "unix", Addr: server.Socket})
	f.look = asynq.NewInspector(asynq.RedisClientOpt{Network: "unix", Addr: server.Socket})
	t.Cleanup(func() { _ = errors.Join(f.plain.Close(), f.look.Close()) })
	return f
}

// flaky is a store that makes no records while the farm's is down.
type flaky struct {
	*records.DB
	f *asynqFarm
}

func (s flaky) Create(ctx context.Context, batch []jobs.Job) ([]bool, error) {
	if s.f.down.Load() {
		return nil, errors.New("i/o timeout")
	}
	return s.DB.Create(ctx, batch)
}

// roomOf is a host whose disks the test fills.
type roomOf struct {
	worker.Trusted
	room func() error
}

func (r roomOf) Room() error {
	if r.room == nil {
		return nil
	}
	return r.room()
}

// work runs a worker until the test ends or stop is called.
func (f *asynqFarm) work(slots int) *running {
	f.t.Helper()
	o := worker.Defaults()
	o.Name, o.HostID, o.StateDir, o.Slots = "one", "host-1", f.t.TempDir(), slots
	o.Renew = 100 * time.Millisecond
	lg := slog.New(slog.NewTextHandler(f.log, nil))
	w := worker.New(lg, worker.Deps{
		Claims: f.records, Records: flaky{f.records, f}, Queue: f.tickets, Engine: f.engine, Admission: worker.Fetch(nil), Host: roomOf{worker.NewTrusted(), f.room},
		Blobs: artifacts.NewBlobs(f.store, f.t.TempDir()),
		Intake: queue.NewIntake(f.dial(), queue.IntakeOptions{
			Queues: []string{jobs.DefaultQueue}, Slots: slots, Fallback: 200 * time.Millisecond, Log: lg,
		}),
	}, o)
	ctx, stop := context.WithCancel(context.Background())
	hurryCtx, hurry := context.WithCancel(context.Background())
	r := &running{Worker: w, stop: stop, hurry: hurry, done: make(chan error, 1)}
	go func() { r.done <- w.Run(ctx, hurryCtx) }()
	f.t.Cleanup(func() {
		stop()
		hurry()
		r.end(f.t)
	})
	return r
}

// reconcile makes a pass of a reconciler that looks at everything.
func (f *asynqFarm) reconcile() {
	f.t.Helper()
	r := reconcile.New(slog.New(slog.NewTextHandler(f.log, nil)), f.records, f.tickets, "leader", reconcile.Options{TicketGrace: time.Millisecond})
	if err := r.Pass(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// document is the payload of a plain producer.
func document(id, script string) []byte {
	return fmt.Appendf(nil, `{"id": %q, "spec": {"run": {"image": "busybox", "command": ["sh", "-c", %q]}}}`, id, script)
}

// push is a plain producer. The last queue option counts.
func (f *asynqFarm) push(payload []byte, opts ...asynq.Option) {
	f.t.Helper()
	opts = append([]asynq.Option{asynq.Queue("builds")}, opts...)
	if _, err := f.plain.EnqueueContext(f.t.Context(), asynq.NewTask("slipway:job", payload), opts...); err != nil {
		f.t.Fatal(err)
	}
}

// reach makes passes until the job is in the state. times is what tells.
func (f *asynqFarm) reach(id string, state jobs.State) jobs.Job {
	f.t.Helper()
	var job jobs.Job
	f.eventually(fmt.Sprintf("job %s is %s", id, state), func() bool {
		var err error
		if job, err = f.svc.Get(f.t.Context(), id); err == nil && job.State == state {
			return true
		}
		f.reconcile()
		return false
	})
	return job
}

// once checks that a job ran once.
func (f *asynqFarm) once(id string) {
	f.t.Helper()
	news, err := f.svc.Follow(f.t.Context(), id, jobs.Cursor{}, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	claims := 0
	for _, e := range news.Events {
		if e.Type == jobs.EventClaimed {
			claims++
		}
	}
	if claims != 1 {
		f.t.Errorf("job %s was claimed %d times, want once: %+v", id, claims, news.Events)
	}
}

// leftovers lists the tasks that are in a queue, in whatever state.
func (f *asynqFarm) leftovers(queue string) []string {
	f.t.Helper()
	keys, err := f.rdb.Keys(f.t.Context(), "asynq:{"+queue+"}:*").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	return slices.DeleteFunc(keys, func(key string) bool {
		return strings.Contains(key, "}:processed") || strings.Contains(key, "}:failed")
	})
}

// Whatever a plain producer asks of asynq, its job comes to an honest end.
func TestEveryOptionOfAsynq(t *testing.T) {
	t.Parallel()
	hour := asynq.Deadline(time.Now().Add(time.Hour))
	past := asynq.Deadline(time.Now().Add(-time.Second))
	type tc struct {
		name   string
		opts   []asynq.Option
		script string
		state  jobs.State
		says   string
	}
	ok, expired := jobs.Succeeded, jobs.Expired
	deadline := "before its deadline, " + past.Value().(time.Time).UTC().Format(time.RFC3339)
	cases := []tc{
		{"none", nil, "", ok, ""},
		{"queue-high", []asynq.Option{asynq.Queue("builds:high")}, "", ok, ""},
		{"queue-low", []asynq.Option{asynq.Queue("builds:low")}, "", ok, ""},
		{"deadline-past", []asynq.Option{past}, "", expired, deadline},
		{"deadline-past-once", []asynq.Option{past, asynq.MaxRetry(0)}, "", expired, deadline},
		{"deadline-past-grouped", []asynq.Option{past, asynq.Group("g")}, "", expired, deadline},
		{"deadline-past-unique", []asynq.Option{past, asynq.Unique(time.Hour), asynq.MaxRetry(1)}, "", expired, deadline},
		{"deadline-past-retained", []asynq.Option{past, asynq.Retention(time.Hour)}, "", expired, deadline},
		{"deadline-before-its-turn", []asynq.Option{asynq.Deadline(time.Now()), asynq.ProcessIn(time.Second)}, "", expired, "before its deadline"},
		{"deadline-of-long-ago", []asynq.Option{asynq.Deadline(time.Unix(-1<<40, 0)), asynq.MaxRetry(0)}, "", expired, "before its deadline"},
		{"deadline-to-come", []asynq.Option{hour}, "", ok, ""},
		{"deadline-far-away", []asynq.Option{asynq.Deadline(time.Unix(1<<50, 0))}, "", ok, ""},
		{"deadline-during-the-run", []asynq.Option{asynq.Deadline(time.Now().Add(4 * time.Second))}, "sleep 6", ok, ""},
		{"deadline-during-the-run-once", []asynq.Option{asynq.Deadline(time.Now().Add(4 * time.Second)), asynq.MaxRetry(0)}, "sleep 6", ok, ""},
		{"timeout", []asynq.Option{asynq.Timeout(time.Second)}, "sleep 3", ok, ""},
		{"timeout-once", []asynq.Option{asynq.Timeout(time.Second), asynq.MaxRetry(0)}, "sleep 3", ok, ""},
		{"timeout-and-deadline", []asynq.Option{asynq.Timeout(time.Second), hour, asynq.MaxRetry(0)}, "sleep 3", ok, ""},
		{"once", []asynq.Option{asynq.MaxRetry(0)}, "", ok, ""},
		{"less-than-once", []asynq.Option{asynq.MaxRetry(-1)}, "", ok, ""},
		{"unique", []asynq.Option{asynq.Unique(time.Hour)}, "", ok, ""},
		{"process-in", []asynq.Option{asynq.ProcessIn(2 * time.Second)}, "", ok, ""},
		{"process-in-once-grouped", []asynq.Option{asynq.ProcessIn(2 * time.Second), asynq.Group("g"), asynq.MaxRetry(0)}, "", ok, ""},
		{"process-at-past", []asynq.Option{asynq.ProcessAt(time.Now().Add(-time.Hour))}, "", ok, ""},
		{"task-id", []asynq.Option{asynq.TaskID("Any Thing")}, "", ok, ""},
		{"task-id-of-its-own", []asynq.Option{asynq.TaskID("task-id-of-its-own")}, "", ok, ""},
		{"task-id-of-a-ticket", []asynq.Option{asynq.TaskID("task-id-of-a-ticket:1:1")}, "", ok, ""},
		{"task-id-of-anothers-ticket", []asynq.Option{asynq.TaskID("none:7:7"), asynq.Group("g")}, "", ok, ""},
		{"retention", []asynq.Option{asynq.Retention(time.Second)}, "", ok, ""},
		{"group", []asynq.Option{asynq.Group("g")}, "", ok, ""},
		{"group-unique-once", []asynq.Option{asynq.Group("another: {group}"), asynq.Unique(time.Hour), asynq.MaxRetry(0)}, "", ok, ""},
		{"all-of-it", []asynq.Option{
			asynq.Group("g"), asynq.Unique(time.Hour), asynq.MaxRetry(0), asynq.Timeout(time.Second), hour,
			asynq.Retention(time.Second), asynq.TaskID("x"), asynq.Queue("builds:high"),
		}, "sleep 3", ok, ""},
	}
	f := newAsynqFarm(t)
	f.work(len(cases))
	for _, tt := range cases {
		script := tt.script
		if script == "" {
			script = "echo hi"
		}
		f.push(document(tt.name, script), tt.opts...)
	}
	for _, tt := range cases {
		job := f.reach(tt.name, tt.state)
		if tt.state == ok {
			f.once(tt.name)
		} else if msg := job.Result.Failure.Message; job.Result.Failure.Kind != jobs.KindQueueTimeout || !strings.Contains(msg, tt.says) {
			t.Errorf("%s: failure %+v; want one that says %q", tt.name, job.Result.Failure, tt.says)
		}
	}
	// asynq keeps a task for as long as it was told to; nothing else stays.
	for _, q := range []string{"builds", "builds:high", "builds:low"} {
		var left []string
		f.eventually("the tasks of "+q+" are gone", func() bool {
			f.reconcile()
			kept, err := f.rdb.ZRange(t.Context(), "asynq:{"+q+"}:completed", 0, -1).Result()
			if err != nil {
				t.Fatal(err)
			}
			left = slices.DeleteFunc(f.leftovers(q), func(key string) bool {
				_, task, _ := strings.Cut(key, "}:t:")
				return strings.HasSuffix(key, "}:completed") || slices.Contains(kept, task)
			})
			return len(left) == 0
		}, func() string { return fmt.Sprintf("%q", left) })
	}
}

// What cannot be a job is one that says so.
func TestDocumentsThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(2)
	long := strings.Repeat("x", 65)
	for _, tt := range []struct {
		name    string
		payload []byte
		opts    []asynq.Option
		id      string // or how it begins
		says    string
	}{
		{"an unknown field", []byte(`{"id": "job-1", "spec": {"rum": {}}}`), nil, "job-1", `unknown field "rum" (did you mean "run"?)`},
		{"no document", []byte(`{"id": "job-2"}`), nil, "job-2", "the task has no job document"},
		{"a null document", []byte(`{"id": "job-3", "spec": null}`), nil, "job-3", "the task has no job document"},
		{"an empty document", []byte(`{"id": "job-4", "spec": {}}`), nil, "job-4", "nothing to do"},
		{"an ID that is none", document("Bad_ID", "echo hi"), nil, "refused-bad-id-", `the id "Bad_ID" of the job is not lower-case letters`},
		{"an ID that is none, in a group", document("Worse ID", "echo hi"), []asynq.Option{asynq.Group("g")}, "refused-worse-id-", `the id "Worse ID"`},
		{"an ID that is too long, once", document(long, "echo hi"), []asynq.Option{asynq.MaxRetry(0)}, "refused-" + long[:40] + "-", "at most 64"},
		{"an ID of other letters", document("Übung", "echo hi"), nil, "refused--bung-", `the id "Übung"`},
		{"no ID", []byte(`{"spec": {"run": {"image": "busybox"}}}`), []asynq.Option{asynq.TaskID("My.Task")}, "refused-my-task-", `the id "" of the job`},
		{"an ID of another type", []byte(`{"id": 7, "spec": {"run": {"image": "busybox"}}}`), []asynq.Option{asynq.TaskID("seven")}, "refused-seven-", "/id: found the number 7"},
		{"no JSON", []byte("hello"), []asynq.Option{asynq.TaskID("hello"), asynq.MaxRetry(0)}, "refused-hello-", "not valid JSON"},
		{"nothing at all", nil, []asynq.Option{asynq.TaskID("nil")}, "refused-nil-", "the document ends too early"},
		{"a deadline besides", document("Bad ID 2", "echo hi"), []asynq.Option{asynq.Deadline(time.Unix(1, 0))}, "refused-bad-id-2-", `the id "Bad ID 2"`},
		{"a queue that no farm has", document("job-5", "echo hi"), []asynq.Option{asynq.Queue("My Queue")}, "job-5", `/queue: found "My Queue"`},
		{"a priority that there is not", document("job-6", "echo hi"), []asynq.Option{asynq.Queue("builds:urgent")}, "job-6", `/priority: unknown priority "urgent"`},
	} {
		f.push(tt.payload, tt.opts...)
		var job jobs.Job
		f.eventually(tt.name+": there is a job", func() bool {
			f.reconcile()
			page, err := f.svc.List(t.Context(), jobs.Query{States: []jobs.State{jobs.Refused}, Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Jobs) > 0 {
				job = page.Jobs[0]
			}
			return job.ID == tt.id || strings.HasSuffix(tt.id, "-") && strings.HasPrefix(job.ID, tt.id)
		})
		if !jobs.IsID(job.ID) || job.Result == nil || job.Result.Failure.Kind != jobs.KindSpecInvalid || !strings.Contains(job.Result.Failure.Message, tt.says) {
			t.Errorf("%s: the job is %+v, %+v; want it refused because %q", tt.name, job, job.Result, tt.says)
		}
		f.eventually(tt.name+": the last log line of this kind is about the job", func() bool { // it follows the record
			told := f.log.lines("job that cannot run\" ")
			return len(told) > 0 && strings.Contains(told[len(told)-1], job.ID)
		})
	}
	if told, asynqs := f.log.lines("job that cannot run\" "), f.log.lines("msg=asynq"); len(told) != 15 || len(asynqs) > 0 {
		t.Errorf("%d log lines, want one for each; of asynq's own: %q", len(told), asynqs)
	}
	for _, q := range []string{"builds", "My Queue", "builds:urgent"} {
		if left := f.leftovers(q); len(left) > 0 {
			t.Errorf("queue %s still has %q", q, left)
		}
	}
}

// Workers that cannot take a job keep no reader from knowing of it, nor the job from
// its deadline.
func TestPlainTasksThatWait(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// begin makes the farm one that takes no jobs until what it returns is called.
		begin func(f *asynqFarm) (free func())
	}{
		{"all slots are taken", func(f *asynqFarm) func() {
			f.work(1)
			f.push(document("long", "trap 'exit 0' TERM; sleep 600"))
			f.reach("long", jobs.Running)
			return func() {
				if _, err := f.svc.Cancel(f.t.Context(), "long", "the test"); err != nil {
					f.t.Fatal(err)
				}
			}
		}},
		{"the only worker is unfit", func(f *asynqFarm) func() {
			var well atomic.Bool
			f.room = func() error {
				if well.Load() {
					return nil
				}
				return errors.New("the disk is full")
			}
			r := f.work(2)
			f.eventually("the worker is unfit", func() bool { return r.Unfit() != nil })
			return func() { well.Store(true) }
		}},
		{"the only worker drains", func(f *asynqFarm) func() {
			r := f.work(2)
			f.push(document("long", "trap 'exit 0' TERM; sleep 600"))
			f.reach("long", jobs.Running)
			r.stop()
			f.eventually("the worker drains", func() bool { return len(f.log.lines("worker drains")) > 0 })
			return func() { f.work(2) }
		}},
		{"there is no worker", func(f *asynqFarm) func() { return func() { f.work(2) } }},
		{"the queue is paused", func(f *asynqFarm) func() {
			f.work(2)
			if err := f.look.PauseQueue("builds"); err != nil {
				f.t.Fatal(err)
			}
			return func() {
				if err := f.look.UnpauseQueue("builds"); err != nil {
					f.t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newAsynqFarm(t)
			free := tt.begin(f)
			soon := time.Now().Add(3 * time.Second)
			f.push(document("plain", "echo hi"))
			f.push(document("once", "echo hi"), asynq.MaxRetry(0), asynq.Timeout(time.Second))
			f.push(document("grouped", "echo hi"), asynq.Group("g"), asynq.MaxRetry(0))
			f.push(document("late", "echo hi"), asynq.Deadline(time.Now().Add(-time.Second)), asynq.MaxRetry(0))
			f.push(document("soon", "echo hi"), asynq.Deadline(soon), asynq.MaxRetry(0))
			f.push(document("Bad_ID", "echo hi"), asynq.MaxRetry(0))
			for _, id := range []string{"plain", "once", "grouped"} {
				f.reach(id, jobs.Queued)
			}
			f.reach("late", jobs.Expired)
			job := f.reach("soon", jobs.Expired)
			if want := soon.UTC().Format(time.RFC3339); !strings.Contains(job.Result.Failure.Message, want) || job.Finished.Before(soon.Truncate(time.Second)) {
				t.Errorf("%s: it ended at %s with %q; want it after its deadline, and that named", job.ID, job.Finished, job.Result.Failure.Message)
			}
			if page, err := f.svc.List(t.Context(), jobs.Query{States: []jobs.State{jobs.Refused}}); err != nil || len(page.Jobs) != 1 {
				t.Errorf("the refused jobs are %+v, %v; want the one without an ID", page.Jobs, err)
			}
			free()
			for _, id := range []string{"plain", "once", "grouped"} {
				f.reach(id, jobs.Succeeded)
				f.once(id)
			}
		})
	}
}

// A task that may be tried once, and comes while Redis takes nothing, is a job
// as soon as it does.
func TestPlainTaskOutlivesTheStore(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(4)
	f.down.Store(true)
	f.push(document("once", "echo hi"), asynq.MaxRetry(0))
	f.push(document("twice", "echo hi"))
	f.push(document("late", "echo hi"), asynq.Deadline(time.Now().Add(-time.Second)), asynq.MaxRetry(0))
	f.push(document("Bad_ID", "echo hi"), asynq.MaxRetry(0))
	f.eventually("asynq has archived three", func() bool {
		return f.rdb.ZCard(t.Context(), "asynq:{builds}:archived").Val() == 3
	})
	f.down.Store(false)
	f.reach("once", jobs.Succeeded)
	f.reach("twice", jobs.Succeeded)
	f.reach("late", jobs.Expired)
	for _, id := range []string{"once", "twice"} {
		f.once(id)
	}
	if page, err := f.svc.List(t.Context(), jobs.Query{States: []jobs.State{jobs.Refused}}); err != nil || len(page.Jobs) != 1 {
		t.Errorf("the refused jobs are %+v, %v; want the one without an ID", page.Jobs, err)
	}
	f.eventually("the tasks are gone", func() bool { f.reconcile(); return len(f.leftovers("builds")) == 0 },
		func() string { return fmt.Sprintf("%q", f.leftovers("builds")) })
}

// A task in a queue that no worker serves is a job that waits there.
func TestPlainTaskInAnotherQueue(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(2)
	for _, opts := range [][]asynq.Option{
		{asynq.TaskID("pending")},
		{asynq.TaskID("grouped"), asynq.Group("g")},
		{asynq.TaskID("late"), asynq.Deadline(time.Unix(1, 0))},
	} {
		id := opts[0].Value().(string)
		f.push(document(id, "echo hi"), append(opts, asynq.Queue("default"))...) // what one gets who names none
	}
	f.push(document("someday", "echo hi"), asynq.Queue("default"), asynq.ProcessIn(time.Hour))
	for _, id := range []string{"pending", "grouped"} {
		if job := f.reach(id, jobs.Queued); job.Spec.Queue != "default" {
			t.Errorf("job %s is in queue %s; want default", id, job.Spec.Queue)
		}
	}
	f.reach("late", jobs.Expired)
	if job, err := f.svc.Get(t.Context(), "someday"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("a job that is not due is %+v, %v; want it unknown", job, err)
	}
	// No server moves it on when it is due.
	overdue := redis.Z{Score: float64(time.Now().Add(-time.Hour).Unix()), Member: f.rdb.ZRange(t.Context(), "asynq:{default}:scheduled", 0, -1).Val()[0]}
	if err := f.rdb.ZAdd(t.Context(), "asynq:{default}:scheduled", overdue).Err(); err != nil {
		t.Fatal(err)
	}
	f.reach("someday", jobs.Queued)
	f.push([]byte(`{"id": "other"}`), asynq.Queue("default"))
	foreign := asynq.NewTask("email:send", []byte(`{"id": "email-1", "spec": {}}`))
	if _, err := f.plain.EnqueueContext(t.Context(), foreign, asynq.Queue("default"), asynq.TaskID("foreign")); err != nil {
		t.Fatal(err)
	}
	f.reach("other", jobs.Refused)
	if _, err := f.look.GetTaskInfo("default", "foreign"); err != nil {
		t.Errorf("another program's task: %v; want it left alone", err)
	}
	if job, err := f.svc.Get(t.Context(), "email-1"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("another program's task became %+v, %v; want none of the farm's business", job, err)
	}
}

// A task whose worker died with all other servers of the queue is found by its lease.
func TestPlainTaskInADeadHand(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.push(document("job-1", "echo hi"), asynq.TaskID("t1"), asynq.MaxRetry(0))
	taken := func(ago time.Duration) {
		err := errors.Join(f.rdb.Del(t.Context(), "asynq:{builds}:pending").Err(), f.rdb.Del(t.Context(), "asynq:{builds}:active").Err(),
			f.rdb.LPush(t.Context(), "asynq:{builds}:active", "t1").Err(), f.rdb.HSet(t.Context(), "asynq:{builds}:t:t1", "state", "active").Err(),
			f.rdb.ZAdd(t.Context(), "asynq:{builds}:lease", redis.Z{Score: float64(time.Now().Add(-ago).Unix()), Member: "t1"}).Err())
		if err != nil {
			t.Fatal(err)
		}
	}
	taken(time.Minute) // asynq's own servers would find it
	f.reconcile()
	if job, err := f.svc.Get(t.Context(), "job-1"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("the job is %+v, %v; want the task left to asynq for a while", job, err)
	}
	taken(time.Hour)
	f.reach("job-1", jobs.Queued)
	for _, key := range []string{"t:t1", "active", "lease"} {
		if f.rdb.Exists(t.Context(), "asynq:{builds}:"+key).Val() != 0 {
			t.Errorf("%s is left", key)
		}
	}
	f.work(1)
	f.reach("job-1", jobs.Succeeded)
}

// What lay in the archive since before the farm looked there may have been a job that
// was run and is forgotten: it is told, and not run.
func TestPlainTaskArchivedLongAgo(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	for _, id := range []string{"old", "new"} {
		f.push(document(id, "echo hi"), asynq.TaskID(id), asynq.MaxRetry(0))
		if err := f.look.ArchiveTask("builds", id); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.rdb.ZAdd(t.Context(), "asynq:{builds}:archived", redis.Z{Score: float64(time.Now().Add(-48 * time.Hour).Unix()), Member: "old"}).Err(); err != nil {
		t.Fatal(err)
	}
	f.reach("new", jobs.Queued)
	job := f.reach("old", jobs.Expired)
	if !strings.Contains(job.Result.Failure.Message, "too late to run it") {
		t.Errorf("failure %+v; want it to say that it is too late", job.Result.Failure)
	}
}

// A second document under the same ID changes nothing, and is told.
func TestPlainTaskTwice(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(2)
	f.push(document("twice", "echo first"))
	f.reach("twice", jobs.Succeeded)
	f.push(document("twice", "echo first"))
	f.push(document("twice", "echo second"), asynq.MaxRetry(0), asynq.TaskID("second"))
	f.eventually("the second is told", func() bool { return len(f.log.lines("dropped a second document")) > 0 })
	f.eventually("the tasks are gone", func() bool { return len(f.leftovers("builds")) == 0 })
	if told := f.log.lines("dropped a second document"); len(told) != 1 || !strings.Contains(told[0], "job_id=twice") || !strings.Contains(told[0], "task=second") {
		t.Errorf("log %q; want one line about the second task", told)
	}
	f.once("twice")
}

// Whatever an operator does to the tasks of the farm with asynq's tools, the job
// knows nothing of it.
func TestOperatorsOfAsynq(t *testing.T) {
	t.Parallel()
	const id = "job-00000001"
	ticket := id + ":1:1"
	for _, tt := range []struct {
		name string
		do   func(f *asynqFarm) error
	}{
		{"a task is deleted", func(f *asynqFarm) error { return f.look.DeleteTask("builds", ticket) }},
		{"a task is archived", func(f *asynqFarm) error { return f.look.ArchiveTask("builds", ticket) }},
		{"a task is archived and run", func(f *asynqFarm) error {
			return errors.Join(f.look.ArchiveTask("builds", ticket), f.look.RunTask("builds", ticket))
		}},
		{"all are deleted", func(f *asynqFarm) error { _, err := f.look.DeleteAllPendingTasks("builds"); return err }},
		{"all are archived", func(f *asynqFarm) error { _, err := f.look.ArchiveAllPendingTasks("builds"); return err }},
		{"all are archived and the archive is emptied", func(f *asynqFarm) error {
			_, err := f.look.ArchiveAllPendingTasks("builds")
			_, derr := f.look.DeleteAllArchivedTasks("builds")
			return errors.Join(err, derr)
		}},
		{"the queue is deleted", func(f *asynqFarm) error { return f.look.DeleteQueue("builds", true) }},
		{"a task is cancelled that no worker has", func(f *asynqFarm) error { return f.look.CancelProcessing(ticket) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newAsynqFarm(t)
			f.work(2)
			if err := f.look.PauseQueue("builds"); err != nil { // so that it is not gone at once
				t.Fatal(err)
			}
			if got := f.submit(shell("echo hi")); got != id {
				t.Fatalf("the job is %s, want %s", got, id)
			}
			if err := tt.do(f); err != nil {
				t.Fatal(err)
			}
			f.eventually("a ticket is there", func() bool { f.reconcile(); return f.rdb.LLen(t.Context(), "asynq:{builds}:pending").Val() > 0 })
			for range 5 {
				f.reconcile()
			}
			if n, job := f.rdb.LLen(t.Context(), "asynq:{builds}:pending").Val(), f.job(id); n != 1 || job.State != jobs.Queued || job.Seq > 2 {
				t.Errorf("the job is %s, with %d tickets waiting of %d issued; want one", job.State, n, job.Seq)
			}
			if !slices.Contains(f.rdb.SMembers(t.Context(), "asynq:queues").Val(), "builds") {
				t.Error("asynq's tools do not know the queue any more")
			}
			if err := f.look.UnpauseQueue("builds"); err != nil {
				t.Fatal(err)
			}
			f.reach(id, jobs.Succeeded)
			f.once(id)
			f.eventually("no task is left", func() bool { f.reconcile(); return len(f.leftovers("builds")) == 0 },
				func() string { return fmt.Sprintf("%q", f.leftovers("builds")) })
		})
	}
}

// No operator ends a running job with asynq's tools.
func TestOperatorsOfAsynqAndRunningJobs(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(4)
	f.push(document("plain", "sleep 3"), asynq.TaskID("plain"), asynq.MaxRetry(0))
	own := f.submit(shell("sleep 3"))
	f.reach("plain", jobs.Running)
	f.reach(own, jobs.Running)
	for _, task := range []string{"plain", own + ":1:1"} {
		if err := f.look.DeleteTask("builds", task); err == nil {
			t.Errorf("asynq deleted %s, which is in hand", task)
		}
		if err := f.look.CancelProcessing(task); err != nil {
			t.Error(err)
		}
	}
	f.eventually("asynq has taken the tasks back", func() bool { return f.rdb.LLen(t.Context(), "asynq:{builds}:active").Val() == 0 })
	for _, id := range []string{"plain", own} {
		f.reach(id, jobs.Succeeded)
		f.once(id)
	}
	f.eventually("no task is left", func() bool { f.reconcile(); return len(f.leftovers("builds")) == 0 })
}

// A ticket that waits for its time may be run at once as often as one likes.
func TestOperatorsOfAsynqAndWaitingJobs(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(2)
	spec := shell("exit 3")
	spec.Retries = 1
	id := f.submit(spec)
	waiting := f.reach(id, jobs.Waiting)
	if _, err := f.look.RunAllScheduledTasks("builds"); err != nil {
		t.Fatal(err)
	}
	job := f.reach(id, jobs.Failed)
	news, err := f.svc.Follow(t.Context(), id, jobs.Cursor{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var claimed []time.Time
	for _, e := range news.Events {
		if e.Type == jobs.EventClaimed {
			claimed = append(claimed, e.At)
		}
	}
	if job.Retries != 1 || len(claimed) != 2 || claimed[1].Before(waiting.NotBefore.Truncate(time.Millisecond)) {
		t.Errorf("it was claimed at %s with %d retries; want the second time not before %s", claimed, job.Retries, waiting.NotBefore)
	}
}

// A worker tells once that a queue is paused, and once that it is not any more.
func TestPausedQueueIsLogged(t *testing.T) {
	t.Parallel()
	f := newAsynqFarm(t)
	f.work(2)
	const began, ended = "queue paused in asynq", "queue resumed in asynq"
	for _, q := range []string{"builds", "builds:low"} {
		if err := f.look.PauseQueue(q); err != nil {
			t.Fatal(err)
		}
	}
	f.eventually("both pauses are told", func() bool { return len(f.log.lines(began)) == 2 })
	id := f.submit(shell("echo hi")) // there is something to look for now
	high := shell("echo hi")
	high.Priority = jobs.PriorityHigh
	urgent := f.submit(high)
	f.reach(urgent, jobs.Succeeded)
	if job := f.job(id); job.State != jobs.Queued {
		t.Errorf("the job in the paused queue is %s", job.State)
	}
	if err := f.look.UnpauseQueue("builds"); err != nil {
		t.Fatal(err)
	}
	f.reach(id, jobs.Succeeded)
	f.eventually("the end of a pause is told", func() bool { return len(f.log.lines(ended)) > 0 })
	if told := f.log.lines(ended); len(told) != 1 || !strings.Contains(told[0], "queue=builds\n") {
		t.Errorf("log %q; want the end of one pause", told)
	}
	told := f.log.lines(began)
	if len(told) != 2 || !strings.Contains(told[0]+told[1], "queue=builds:low since=2") || !strings.Contains(told[0]+told[1], "queue=builds since=2") {
		t.Errorf("log %q; want both pauses once, and since when", told)
	}
}
