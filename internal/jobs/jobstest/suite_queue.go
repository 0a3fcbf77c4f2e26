package jobstest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Delivery is a queue under test. Each subtest sets up its own, empty one.
type Delivery struct {
	Queue jobs.Queue
	// Receive returns the next ticket of the named queue and takes it off the
	// queue, waiting for one until ctx ends; then it returns an error.
	Receive func(ctx context.Context, queue string) (jobs.Ticket, error)
	// Advance moves the queue's clock, nil when it cannot be moved.
	Advance func(d time.Duration)
	// Pause and Resume are what an operator does to a part of a queue.
	Pause, Resume func(queue string, p jobs.Priority)
}

// TestQueue holds a queue to what producers and workers are promised.
func TestQueue(t *testing.T, setup func(t *testing.T) Delivery) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, d Delivery)
	}{
		{"deliver", testDeliver},
		{"deliver many", testDeliverMany},
		{"deliver once", testDeliverOnce},
		{"tickets of one job are told apart", testDeliverApart},
		{"queues are apart", testDeliverQueues},
		{"wake a waiting worker", testDeliverWakes},
		{"delay", testDeliverDelay},
		{"refuse when the context has ended", testPushContext},
		{"paused", testPaused},
		{"paused by the farm", testSetPause},
		{"place in line", testAhead},
		{"depths", testDepths},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, setup(t)) })
	}
}

func ticket(id string, attempt, seq int) jobs.Ticket {
	return jobs.Ticket{ID: id, Attempt: attempt, Seq: seq, Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal}
}

func (d Delivery) push(t *testing.T, tickets ...jobs.Ticket) {
	t.Helper()
	if err := d.Queue.Push(t.Context(), tickets...); err != nil {
		t.Fatalf("Push(%+v): %v", tickets, err)
	}
}

// receive returns the next ticket without its delay, which is spent.
func (d Delivery) receive(t *testing.T, queue string) jobs.Ticket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := d.Receive(ctx, queue)
	if err != nil {
		t.Fatalf("Receive(%s): %v", queue, err)
	}
	got.Delay = 0
	return got
}

// drain pushes a last ticket and returns everything delivered before it.
func (d Delivery) drain(t *testing.T) []jobs.Ticket {
	t.Helper()
	last := ticket(fmt.Sprintf("job-last-%d", time.Now().UnixNano()), 1, 1)
	d.push(t, last)
	var got []jobs.Ticket
	for {
		next := d.receive(t, jobs.DefaultQueue)
		if next == last {
			return got
		}
		got = append(got, next)
	}
}

func testDeliver(t *testing.T, d Delivery) {
	for _, p := range jobs.Priorities() {
		want := jobs.Ticket{ID: "job-" + string(p), Attempt: 3, Seq: 2, Queue: "special-1", Priority: p}
		d.push(t, want)
		if got := d.receive(t, "special-1"); got != want {
			t.Errorf("got %+v; want %+v", got, want)
		}
	}
	d.push(t)
}

func testDeliverMany(t *testing.T, d Delivery) {
	var all []jobs.Ticket
	want := map[jobs.Ticket]bool{}
	for i := range 200 {
		tk := ticket(fmt.Sprintf("job-%03d", i), 1, 1)
		tk.Priority = jobs.Priorities()[i%3]
		all = append(all, tk)
		want[tk] = true
	}
	d.push(t, all...)
	for range all {
		got := d.receive(t, jobs.DefaultQueue)
		if !want[got] {
			t.Fatalf("got %+v; want each ticket once", got)
		}
		delete(want, got)
	}
	if got := d.drain(t); len(got) != 0 {
		t.Errorf("after all tickets: got %+v", got)
	}
}

func testDeliverOnce(t *testing.T, d Delivery) {
	once := ticket("job-1", 1, 1)
	d.push(t, once)
	d.push(t, once)
	d.push(t, once, once)
	if got := d.drain(t); !slices.Equal(got, []jobs.Ticket{once}) {
		t.Errorf("got %+v; want %+v once", got, once)
	}
}

func testDeliverApart(t *testing.T, d Delivery) {
	want := []jobs.Ticket{ticket("job-1", 1, 1), ticket("job-1", 1, 2), ticket("job-1", 2, 1), ticket("job-1", 11, 1), ticket("job-11", 1, 1)}
	d.push(t, want...)
	got := d.drain(t)
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%+v was not delivered", w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %d tickets; want %d", len(got), len(want))
	}
}

func testDeliverQueues(t *testing.T, d Delivery) {
	other := ticket("job-1", 1, 1)
	other.Queue = "other"
	d.push(t, other)
	if got := d.drain(t); len(got) != 0 {
		t.Errorf("got %+v from %s; want nothing of another queue", got, jobs.DefaultQueue)
	}
	if got := d.receive(t, "other"); got != other {
		t.Errorf("got %+v; want %+v", got, other)
	}
}

func testDeliverWakes(t *testing.T, d Delivery) {
	type answer struct {
		ticket jobs.Ticket
		err    error
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got := make(chan answer, 1)
	go func() {
		tk, err := d.Receive(ctx, jobs.DefaultQueue)
		got <- answer{tk, err}
	}()
	select {
	case a := <-got:
		t.Fatalf("Receive of an empty queue = %+v, %v; want it to wait", a.ticket, a.err)
	case <-time.After(50 * time.Millisecond):
	}
	want := ticket("job-1", 1, 1)
	d.push(t, want)
	if a := <-got; a.err != nil || a.ticket != want {
		t.Errorf("Receive = %+v, %v; want %+v", a.ticket, a.err, want)
	}
}

// How exact a delay is depends on the queue; that it is one does not.
func testDeliverDelay(t *testing.T, d Delivery) {
	far, near := ticket("job-far", 1, 1), ticket("job-near", 1, 1)
	far.Delay, near.Delay = time.Hour, 300*time.Millisecond
	d.push(t, far, near)
	if d.Advance != nil {
		if got := d.drain(t); len(got) != 0 {
			t.Errorf("got %+v at once; want it delayed", got)
		}
		d.Advance(2 * time.Second)
	}
	if got := d.receive(t, jobs.DefaultQueue); got.ID != near.ID {
		t.Fatalf("got %+v; want %s", got, near.ID)
	}
	if d.Advance == nil {
		if got := d.drain(t); len(got) != 0 {
			t.Errorf("got %+v; want the other one an hour later", got)
		}
		return
	}
	d.Advance(time.Hour)
	if got := d.receive(t, jobs.DefaultQueue); got.ID != far.ID {
		t.Errorf("got %+v; want %s", got, far.ID)
	}
}

func testPushContext(t *testing.T, d Delivery) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Queue.Push(ctx, ticket("job-1", 1, 1)); err == nil {
		t.Error("Push with an ended context: no error")
	}
	if got := d.drain(t); len(got) != 0 {
		t.Errorf("got %+v; want nothing pushed", got)
	}
}

func testPaused(t *testing.T, d Delivery) {
	want := func(queues []string, names ...string) {
		t.Helper()
		got, err := d.Queue.Paused(t.Context(), queues...)
		if err != nil {
			t.Fatalf("Paused(%q): %v", queues, err)
		}
		for i, p := range got {
			if i >= len(names) || p.Name != names[i] || p.Since.IsZero() || time.Since(p.Since).Abs() > time.Minute {
				t.Errorf("Paused(%q) has %+v; want %q, since now", queues, p, names)
			}
		}
		if len(got) != len(names) {
			t.Errorf("Paused(%q) = %+v; want %q", queues, got, names)
		}
	}
	both := []string{jobs.DefaultQueue, "other"}
	want(both)
	want(nil)
	d.Pause("other", jobs.PriorityNormal)
	d.Pause(jobs.DefaultQueue, jobs.PriorityLow)
	d.Pause(jobs.DefaultQueue, jobs.PriorityHigh)
	want(both, "builds:high", "builds:low", "other")
	want([]string{"other"}, "other")

	// Each part is paused by itself.
	held, free := ticket("job-held", 1, 1), ticket("job-free", 1, 1)
	held.Priority = jobs.PriorityHigh
	d.push(t, held, free)
	if got := d.receive(t, jobs.DefaultQueue); got != free {
		t.Errorf("got %+v; want %+v, which is not paused", got, free)
	}
	d.Resume(jobs.DefaultQueue, jobs.PriorityHigh)
	if got := d.receive(t, jobs.DefaultQueue); got != held {
		t.Errorf("got %+v; want %+v, which was resumed", got, held)
	}
	want(both, "builds:low", "other")
}

func testSetPause(t *testing.T, d Delivery) {
	held, free := ticket("job-held", 1, 1), ticket("job-free", 1, 1)
	held.Turn, free.Turn, free.Priority = "web", "web", jobs.PriorityLow
	set := func(reason string) {
		t.Helper()
		p := jobs.Pause{Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal, By: "ops", Reason: reason}
		if err := d.Queue.SetPause(t.Context(), p); err != nil {
			t.Fatalf("SetPause: %v", err)
		}
		got, err := d.Queue.Paused(t.Context(), jobs.DefaultQueue)
		if err != nil || len(got) != 1 || got[0].Since.IsZero() {
			t.Fatalf("Paused = %+v, %v; want one since now", got, err)
		}
		p.Name, p.Since = jobs.DefaultQueue, got[0].Since
		if got[0] != p {
			t.Errorf("Paused = %+v; want %+v", got[0], p)
		}
	}
	end := func(want bool) {
		t.Helper()
		if was, err := d.Queue.EndPause(t.Context(), jobs.DefaultQueue, jobs.PriorityNormal); err != nil || was != want {
			t.Errorf("EndPause = %t, %v; want %t", was, err, want)
		}
	}
	end(false)
	set("")
	set("the registry moves")
	d.push(t, held, free)
	if got := d.receive(t, jobs.DefaultQueue); got != free {
		t.Errorf("got %+v; want %+v, which is not paused", got, free)
	}
	end(true)
	if got := d.receive(t, jobs.DefaultQueue); got != held {
		t.Errorf("got %+v; want %+v, which was resumed", got, held)
	}
	end(false)
	d.Pause(jobs.DefaultQueue, jobs.PriorityNormal) // by asynq's tools
	end(true)
	if got, err := d.Queue.Paused(t.Context(), jobs.DefaultQueue); err != nil || len(got) != 0 {
		t.Errorf("Paused = %+v, %v; want none", got, err)
	}
}

func testAhead(t *testing.T, d Delivery) {
	d.Pause(jobs.DefaultQueue, jobs.PriorityNormal)
	all := []jobs.Ticket{ticket("job-1", 1, 1), ticket("job-2", 1, 1), ticket("job-3", 1, 1)}
	for _, tk := range all { // those of one push come in any order
		d.push(t, tk)
	}
	other := ticket("job-4", 1, 1)
	other.Turn = "web"
	d.push(t, other)
	for i, tk := range []jobs.Ticket{all[0], all[1], all[2], other} {
		got, found, err := d.Queue.Ahead(t.Context(), tk)
		if want := i % 3; err != nil || !found || got != want {
			t.Errorf("Ahead(%s) = %d, %t, %v; want %d", tk.ID, got, found, err, want)
		}
	}
	if got, found, err := d.Queue.Ahead(t.Context(), ticket("job-none", 1, 1)); found || err != nil {
		t.Errorf("Ahead of a ticket that is not there = %d, %t, %v", got, found, err)
	}
}

func testDepths(t *testing.T, d Delivery) {
	before := time.Now().Add(-2 * time.Second)
	in := func(id string, p jobs.Priority, r jobs.Route, turn string) jobs.Ticket {
		tk := ticket(id, 1, 1)
		tk.Priority, tk.Route, tk.Turn = p, r, turn
		return tk
	}
	gpu := jobs.Needs{Labels: map[string]string{"gpu": "yes"}}.Route()
	d.push(t, in("job-1", jobs.PriorityLow, "", "web"), in("job-2", jobs.PriorityLow, "", "api"), in("job-3", jobs.PriorityLow, gpu, ""), in("job-4", jobs.PriorityHigh, gpu, "web"))
	other := in("job-5", jobs.PriorityNormal, "", "")
	other.Queue = "other"
	d.push(t, other)
	got, err := d.Queue.Depths(t.Context(), "other", jobs.DefaultQueue, "empty")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, g := range got {
		if g.Oldest.Before(before) || g.Oldest.After(time.Now().Add(2*time.Second)) {
			t.Errorf("%+v: the oldest waits since another time than now", g)
		}
		texts = append(texts, fmt.Sprint(g.Queue, " ", g.Priority, " ", g.Route, " ", g.Waiting))
	}
	want := []string{
		"other normal  1", "builds high gpu=yes 1", "builds low  2", "builds low gpu=yes 1",
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got %q; want %q", texts, want)
	}
	queues, err := d.Queue.Queues(t.Context())
	if err != nil || !slices.Contains(queues, "other") || !slices.Contains(queues, jobs.DefaultQueue) || slices.Contains(queues, "empty") {
		t.Errorf("Queues = %q, %v; want those with tickets", queues, err)
	}
	d.receive(t, "other")
	for left := 3; left >= 0; left-- {
		d.receive(t, jobs.DefaultQueue)
		got, err := d.Queue.Depths(t.Context(), "other", jobs.DefaultQueue)
		waiting := 0
		for _, g := range got {
			waiting += g.Waiting
		}
		if err != nil || waiting > left || waiting < left-1 { // the consumer may have the next one in hand
			t.Errorf("got %+v, %v; want the %d that were not taken", got, err, left)
		}
	}
}
