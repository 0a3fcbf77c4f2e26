package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
)

// embedded is an in-process Redis with a client and asynq's own.
func embedded(t *testing.T) (dial func() redis.UniversalClient, rdb redis.UniversalClient, plain *asynq.Client) {
	t.Helper()
	server := miniredis.RunT(t)
	dial = func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: server.Addr()}) }
	rdb = dial()
	t.Cleanup(func() { _ = rdb.Close() })
	return dial, rdb, asynq.NewClientFromRedisClient(rdb)
}

func push(t *testing.T, plain *asynq.Client, payload string, opts ...asynq.Option) {
	t.Helper()
	opts = append([]asynq.Option{asynq.Queue("builds")}, opts...)
	if _, err := plain.EnqueueContext(t.Context(), asynq.NewTask(queue.TaskType, []byte(payload)), opts...); err != nil {
		t.Fatal(err)
	}
}

// deliveries starts a consumer whose handler fails with err after it has passed on
// what it got.
func deliveries(t *testing.T, rdb redis.UniversalClient, err error) <-chan jobs.Delivery {
	t.Helper()
	c := queue.NewIntake(rdb, queue.IntakeOptions{Queues: []string{"builds"}, Slots: 1, Fallback: 50 * time.Millisecond})
	got := make(chan jobs.Delivery, 100)
	if err := c.Start(func(_ context.Context, d jobs.Delivery) error { got <- d; return err }, anything); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return got
}

func next(t *testing.T, got <-chan jobs.Delivery) jobs.Delivery {
	t.Helper()
	select {
	case d := <-got:
		return d
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was delivered")
		return jobs.Delivery{}
	}
}

const document = `{"id": "job-1", "spec": {"run": {"image": "busybox"}}}`

// What a worker is told of a task.
func TestDelivery(t *testing.T) {
	t.Parallel()
	dial, _, plain := embedded(t)
	got := deliveries(t, dial(), nil)
	deadline := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	ticket := func(id string, attempt, seq int) jobs.Ticket {
		return jobs.Ticket{ID: id, Attempt: attempt, Seq: seq, Queue: "builds", Priority: jobs.PriorityNormal}
	}
	for _, tt := range []struct {
		name    string
		payload string
		opts    []asynq.Option
		ticket  jobs.Ticket
		plain   bool
		fails   string
		startBy time.Time
	}{
		{"a ticket", `{"id": "job-1"}`, []asynq.Option{asynq.TaskID("job-1:2:3"), asynq.Deadline(deadline)}, ticket("job-1", 2, 3), false, "", time.Time{}},
		{"a document", document, nil, ticket("job-1", 0, 0), true, "", time.Time{}},
		{"a time limit is no deadline", document, []asynq.Option{asynq.Timeout(time.Minute)}, ticket("job-1", 0, 0), true, "", time.Time{}},
		{"a deadline", document, []asynq.Option{asynq.Deadline(deadline)}, ticket("job-1", 0, 0), true, "", deadline},
		{"both", document, []asynq.Option{asynq.Timeout(time.Minute), asynq.Deadline(deadline)}, ticket("job-1", 0, 0), true, "", deadline},
		{"a deadline that asynq takes for none", document, []asynq.Option{asynq.Deadline(time.Unix(0, 0))}, ticket("job-1", 0, 0), true, "", time.Time{}},
		{"a deadline that no calendar has", document, []asynq.Option{asynq.Deadline(time.Unix(1<<50, 0))}, ticket("job-1", 0, 0), true, "", time.Time{}},
		{"no document", `{"id": "job-1"}`, nil, ticket("job-1", 0, 0), true, "the task has no job document", time.Time{}},
		{"an ID that is none", `{"id": "Bad_ID", "spec": {}}`, nil, ticket("refused-bad-id-f3338185", 0, 0), true, `the id "Bad_ID"`, time.Time{}},
		{"another ID that looks the same", `{"id": "bad_id", "spec": {}}`, nil, ticket("refused-bad-id-f54694e1", 0, 0), true, `the id "bad_id"`, time.Time{}},
		{"too much", `{"id": "job-1", "spec": {"name": "` + strings.Repeat("x", jobs.MaxSpecBytes) + `"}}`, nil, ticket("job-1", 0, 0), true, "the limit is", time.Time{}},
	} {
		push(t, plain, tt.payload, tt.opts...)
		d := next(t, got)
		if d.Ticket != tt.ticket || d.Plain() != tt.plain || !d.StartBy.Equal(tt.startBy) || d.GivenUp || d.Task == "" {
			t.Errorf("%s: got %+v; want ticket %+v, plain %t, to begin by %s", tt.name, d, tt.ticket, tt.plain, tt.startBy)
		}
		if tt.fails == "" && d.Failure != nil || tt.fails != "" && (d.Failure == nil || !strings.Contains(d.Failure.Message, tt.fails)) {
			t.Errorf("%s: failure %+v; want one that says %q", tt.name, d.Failure, tt.fails)
		}
	}
}

// A plain producer's trace comes in the headers of its task, as asynq hands traces on.
func TestTraceOfATask(t *testing.T) {
	t.Parallel()
	dial, _, plain := embedded(t)
	got := deliveries(t, dial(), nil)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for sent, want := range map[string]jobs.Traceparent{trace: trace, "bad": ""} {
		task := asynq.NewTaskWithHeaders(queue.TaskType, []byte(document), map[string]string{"traceparent": sent})
		if _, err := plain.EnqueueContext(t.Context(), task, asynq.Queue("builds")); err != nil {
			t.Fatal(err)
		}
		if d := next(t, got); d.Traceparent != want || !d.Plain() {
			t.Errorf("%q: got %+v; want trace %q", sent, d, want)
		}
	}
}

// Before asynq takes a task back, the handler hears of its document.
func TestTasksThatAsynqTakesBack(t *testing.T) {
	t.Parallel()
	dial, rdb, plain := embedded(t)
	got := deliveries(t, dial(), errors.New("unfit"))
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	// asynq asks no handler when the deadline has passed.
	push(t, plain, document, asynq.Deadline(past), asynq.MaxRetry(0))
	if d := next(t, got); !d.GivenUp || !d.Plain() || d.Ticket.ID != "job-1" || !d.StartBy.Equal(past) {
		t.Errorf("after its deadline: %+v; want it given up, with its document and deadline", d)
	}
	push(t, plain, document, asynq.MaxRetry(0))
	if d := next(t, got); d.GivenUp {
		t.Errorf("at first: %+v", d)
	}
	if d := next(t, got); !d.GivenUp || !d.Plain() {
		t.Errorf("after the handler's error: %+v; want it given up", d)
	}
	// A ticket's record is there.
	if err := queue.New(rdb).Push(t.Context(), jobs.Ticket{ID: "job-2", Attempt: 1, Seq: 1, Queue: "builds"}); err != nil {
		t.Fatal(err)
	}
	push(t, plain, document, asynq.MaxRetry(0), asynq.TaskID("last"))
	for _, want := range []string{"job-2 false", "job-1 false", "job-1 true"} {
		if d := next(t, got); fmt.Sprint(d.Ticket.ID, " ", d.GivenUp) != want {
			t.Errorf("got %+v; want %s", d, want)
		}
	}
}

// counter counts the commands of a client.
type counter struct{ n atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

// An idle farm pays one command for each queue, a busy one has a bound.
func TestTidyIsCheap(t *testing.T) {
	t.Parallel()
	_, rdb, plain := embedded(t)
	p := queue.New(rdb, "builds")
	var accepted []string
	accept := func(_ context.Context, d jobs.Delivery) error { accepted = append(accepted, d.Ticket.ID); return nil }
	tidy := func() (more bool) {
		t.Helper()
		more, err := p.Tidy(t.Context(), accept)
		if err != nil {
			t.Fatal(err)
		}
		return more
	}
	tidy() // it tells asynq of the queues
	var c counter
	rdb.AddHook(&c)
	if tidy() || c.n.Load() != 5 {
		t.Errorf("in an idle farm it takes %d commands; want one for each of two lists and of three queues", c.n.Load())
	}
	const many = 450
	for i := range many {
		push(t, plain, fmt.Sprintf(`{"id": "job-%d", "spec": {}}`, i), asynq.Group("g"))
	}
	for range many { // in no job's way
		if _, err := plain.EnqueueContext(t.Context(), asynq.NewTask("other", nil), asynq.Queue("builds:low"), asynq.Group("g")); err != nil {
			t.Fatal(err)
		}
	}
	for round := 1; len(accepted) < many; round++ {
		before, had := c.n.Load(), len(accepted)
		more := tidy()
		if n := c.n.Load() - before; n > 2500 || len(accepted)-had > 200 {
			t.Fatalf("round %d took %d commands for %d tasks", round, n, len(accepted)-had)
		}
		if !more && many-len(accepted) >= 50 {
			t.Errorf("round %d says that it is done with %d of %d", round, len(accepted), many)
		}
	}
}

// What cannot be accepted stays, and nothing else is tried.
func TestTidyKeepsWhatIsNotAccepted(t *testing.T) {
	t.Parallel()
	_, rdb, plain := embedded(t)
	p := queue.New(rdb, "builds")
	for range 3 {
		push(t, plain, document, asynq.Group("g"))
	}
	tried := 0
	more, err := p.Tidy(t.Context(), func(context.Context, jobs.Delivery) error { tried++; return errors.New("Redis is away") })
	if n := rdb.ZCard(t.Context(), "asynq:{builds}:g:g").Val(); more || err != nil || tried != 1 || n != 3 {
		t.Errorf("Tidy = %t, %v after %d tries, %d tasks are left; want one try and all of them", more, err, tried, n)
	}
}

// Queue that asynq archived are of no use, those that wait are.
func TestTidyAndTickets(t *testing.T) {
	t.Parallel()
	_, rdb, _ := embedded(t)
	p := queue.New(rdb, "builds")
	look := asynq.NewInspectorFromRedisClient(rdb)
	for i := range 3 {
		tk := jobs.Ticket{ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds"}
		if i == 2 {
			tk.Delay = time.Hour
		}
		if err := p.Push(t.Context(), tk); err != nil {
			t.Fatal(err)
		}
	}
	if err := look.ArchiveTask("builds", "job-0:1:1"); err != nil {
		t.Fatal(err)
	}
	_, err := p.Tidy(t.Context(), func(_ context.Context, d jobs.Delivery) error {
		t.Errorf("%+v was taken for a plain task", d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{asynq.ErrTaskNotFound, nil, nil} {
		if _, err := look.GetTaskInfo("builds", fmt.Sprintf("job-%d:1:1", i)); !errors.Is(err, want) {
			t.Errorf("ticket %d: %v; want %v", i, err, want)
		}
	}
}

// Some write anything into the key that pauses a queue.
func TestPausedSince(t *testing.T) {
	t.Parallel()
	_, rdb, _ := embedded(t)
	for text, want := range map[string]time.Time{
		"1767323045": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"1":          {}, "yes": {}, "": {}, "1767323045000000000": {}, "-5": {},
	} {
		if err := rdb.Set(t.Context(), "asynq:{builds:low}:paused", text, 0).Err(); err != nil {
			t.Fatal(err)
		}
		got, err := queue.New(rdb).Paused(t.Context(), "builds")
		if err != nil || len(got) != 1 || got[0] != (jobs.Pause{Queue: "builds", Priority: jobs.PriorityLow, Name: "builds:low", Since: want}) {
			t.Errorf("%q: %+v, %v; want builds:low since %s", text, got, err, want)
		}
	}
}

// asynq's clients tell of a queue the first time that they push to it. One that an
// operator deleted in between is still served, and looked into.
func TestDeletedQueue(t *testing.T) {
	t.Parallel()
	_, rdb, plain := embedded(t)
	p := queue.New(rdb, "builds")
	look := asynq.NewInspectorFromRedisClient(rdb)
	deleted := func() {
		t.Helper()
		if err := look.DeleteQueue("builds", true); err != nil {
			t.Fatal(err)
		}
	}
	first := jobs.Ticket{ID: "job-1", Attempt: 1, Seq: 1, Queue: "builds"}
	second := first
	second.Seq = 2
	missing := func(tk jobs.Ticket, want bool) {
		t.Helper()
		if got, err := p.Missing(t.Context(), tk); err != nil || got != want {
			t.Errorf("ticket %d: missing %t, %v; want %t", tk.Seq, got, err, want)
		}
	}
	if err := p.Push(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	deleted()
	missing(first, true)
	if err := p.Push(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	missing(second, false)

	push(t, plain, document)
	deleted()
	if err := p.Push(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	missing(second, false) // although p did not ask before

	deleted()
	push(t, plain, document, asynq.Group("g"))
	accepted := 0
	if _, err := p.Tidy(t.Context(), func(context.Context, jobs.Delivery) error { accepted++; return nil }); err != nil || accepted != 1 {
		t.Errorf("Tidy: %v, and took %d tasks; want the one of a queue that was deleted", err, accepted)
	}
}

// A board without tickets has nothing left that a worker would look at.
func TestEmptyBoard(t *testing.T) {
	t.Parallel()
	dial, rdb, _ := embedded(t)
	var tickets []jobs.Ticket
	for i := range 30 {
		tickets = append(tickets, jobs.Ticket{
			ID: fmt.Sprint("job-", i), Attempt: 1, Seq: 1, Queue: "builds", Priority: jobs.Priorities()[i%3],
			Route: jobs.Needs{Labels: map[string]string{"disk": fmt.Sprint(i % 4)}}.Route(),
		})
	}
	if err := queue.New(rdb).Push(t.Context(), tickets...); err != nil {
		t.Fatal(err)
	}
	got := deliveries(t, dial(), nil)
	for range tickets {
		next(t, got)
	}
	for _, part := range []string{"places", "open:*", "ages:*", "bell:*"} {
		if keys, err := rdb.Keys(t.Context(), "slipway:{builds}:"+part).Result(); err != nil || len(keys) > 0 {
			t.Errorf("%s are left: %v, %v", part, keys, err)
		}
	}
}
