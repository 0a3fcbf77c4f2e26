package jobstest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Queue delivers tickets in memory, and what plain producers push. It implements
// jobs.Queue and is safe for concurrent use. Every ticket, that is every (ID,
// attempt, seq), is delivered once.
type Queue struct {
	clock *clock

	mu      sync.Mutex
	waiting []delivery
	// inHand are plain tasks that were received and not ended, archived those that are
	// delivered no more.
	inHand   map[string]jobs.Delivery
	archived []jobs.Delivery
	seen     map[ticketID]bool
	paused   map[part]jobs.Pause
	// turns is how many turns each name has had in a part, in units, and clockOf where the
	// one stood that was handed out last.
	turns   map[part]map[string]int
	clockOf map[part]int
	weights map[string]map[string]int // by queue and name
	broken  error
	changed chan struct{} // closed and replaced when a receiver should look again
}

// part is what can be paused by itself.
type part struct {
	queue    string
	priority jobs.Priority
}

var _ jobs.Queue = (*Queue)(nil)

type ticketID struct {
	id           string
	attempt, seq int
}

type delivery struct {
	jobs.Delivery
	due time.Time
}

// NewQueue makes an empty queue.
func NewQueue() *Queue {
	return &Queue{clock: newClock(nil), seen: map[ticketID]bool{}, paused: map[part]jobs.Pause{}, turns: map[part]map[string]int{}, clockOf: map[part]int{}, weights: map[string]map[string]int{}, inHand: map[string]jobs.Delivery{}, changed: make(chan struct{})}
}

// begin locks the queue for a call, unless the call or the queue cannot go on; the caller
// unlocks it.
func (q *Queue) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	if q.broken != nil {
		defer q.mu.Unlock()
		return q.broken
	}
	return nil
}

// Push implements jobs.Queue.
func (q *Queue) Push(ctx context.Context, tickets ...jobs.Ticket) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	for _, t := range tickets {
		id := ticketID{t.ID, t.Attempt, t.Seq}
		if q.seen[id] {
			continue
		}
		q.seen[id] = true
		q.waiting = append(q.waiting, delivery{Delivery: jobs.Delivery{Ticket: t}, due: q.clock.now().Add(t.Delay)})
	}
	q.wake()
	return nil
}

// Paused implements jobs.Queue.
func (q *Queue) Paused(ctx context.Context, queues ...string) ([]jobs.Pause, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	var list []jobs.Pause
	for _, queue := range queues {
		for _, p := range jobs.Priorities() {
			if pause, ok := q.paused[part{queue, p}]; ok {
				list = append(list, pause)
			}
		}
	}
	return list, nil
}

// PausedLanes implements jobs.Queue: it has no lanes.
func (*Queue) PausedLanes(ctx context.Context, _ ...jobs.Ticket) (map[string]jobs.Pause, error) {
	return map[string]jobs.Pause{}, ctx.Err()
}

// SetPause implements jobs.Queue.
func (q *Queue) SetPause(ctx context.Context, p jobs.Pause) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	p.Name, p.Since = partName(p.Queue, p.Priority), q.clock.now()
	q.paused[part{p.Queue, p.Priority}] = p
	return nil
}

// Weights implements jobs.Queue.
func (q *Queue) Weights(ctx context.Context, queues ...string) ([]jobs.Weight, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	var all []jobs.Weight
	for _, queue := range queues {
		for _, name := range slices.Sorted(maps.Keys(q.weights[queue])) {
			all = append(all, jobs.Weight{Queue: queue, Name: name, Turns: q.weights[queue][name]})
		}
	}
	return all, nil
}

// SetWeight implements jobs.Queue.
func (q *Queue) SetWeight(ctx context.Context, w jobs.Weight) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	if q.weights[w.Queue] == nil {
		q.weights[w.Queue] = map[string]int{}
	}
	q.weights[w.Queue][w.Name] = w.Turns
	maps.DeleteFunc(q.weights[w.Queue], func(_ string, turns int) bool { return turns == 1 })
	return nil
}

// EndPause implements jobs.Queue.
func (q *Queue) EndPause(ctx context.Context, queue string, p jobs.Priority) (bool, error) {
	if err := q.begin(ctx); err != nil {
		return false, err
	}
	defer q.mu.Unlock()
	_, was := q.paused[part{queue, p}]
	delete(q.paused, part{queue, p})
	q.wake()
	return was, nil
}

// Ahead implements jobs.Queue.
func (q *Queue) Ahead(ctx context.Context, t jobs.Ticket) (int, bool, error) {
	if err := q.begin(ctx); err != nil {
		return 0, false, err
	}
	defer q.mu.Unlock()
	ahead := 0
	for _, d := range q.waiting {
		if d.Ticket.ID == t.ID && d.Ticket.Attempt == t.Attempt {
			return ahead, true, nil
		}
		if d.Ticket.Beside(t) {
			ahead++
		}
	}
	return 0, false, nil
}

// Queues implements jobs.Queue.
func (q *Queue) Queues(ctx context.Context) ([]string, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	var queues []string
	for _, d := range q.waiting {
		queues = append(queues, d.Ticket.Queue)
	}
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// Depths implements jobs.Queue.
func (q *Queue) Depths(ctx context.Context, queues ...string) ([]jobs.Depth, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	var all []jobs.Depth
	for _, queue := range queues {
		for _, p := range jobs.Priorities() {
			of := map[jobs.Route]*jobs.Depth{}
			for _, d := range q.waiting {
				t := d.Ticket
				if partOf(t) != (part{queue, p}) || q.clock.now().Before(d.due) {
					continue
				}
				if of[t.Route] == nil {
					of[t.Route] = &jobs.Depth{Queue: queue, Priority: p, Route: t.Route, Oldest: d.due}
				}
				of[t.Route].Waiting++
			}
			for _, r := range slices.Sorted(maps.Keys(of)) {
				all = append(all, *of[r])
			}
		}
	}
	return all, nil
}

func partName(queue string, p jobs.Priority) string {
	if p == jobs.PriorityNormal {
		return queue
	}
	return queue + ":" + string(p)
}

// Pause holds back what is in a part of a queue, as an operator does, until Resume.
func (q *Queue) Pause(queue string, p jobs.Priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused[part{queue, p}] = jobs.Pause{Queue: queue, Priority: p, Name: partName(queue, p), Since: q.clock.now()}
}

// Resume ends a pause.
func (q *Queue) Resume(queue string, p jobs.Priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.paused, part{queue, p})
	q.wake()
}

// Receive is ReceiveAny without what may come with a ticket.
func (q *Queue) Receive(ctx context.Context, queue string) (jobs.Ticket, error) {
	d, err := q.ReceiveAny(ctx, queue)
	return d.Ticket, err
}

// ReceiveAny returns the next task of the named queue that is due, the most urgent
// first, waiting for one until ctx ends. An empty name means any queue.
func (q *Queue) ReceiveAny(ctx context.Context, queue string) (jobs.Delivery, error) {
	for {
		d, found, wait, changed := q.take(served{queue: queue})
		if found {
			return d, nil
		}
		if err := news(ctx, wait, changed); err != nil {
			return jobs.Delivery{}, err
		}
	}
}

// served is which tickets a receiver wants: those of a queue, "" for any, whose needs
// takes allows, nil for any.
type served struct {
	queue string
	takes func(jobs.Needs) bool
}

func (s served) wants(t jobs.Ticket) bool {
	if s.queue != "" && t.Queue != s.queue {
		return false
	}
	needs, err := t.Route.Needs()
	return err == nil && (s.takes == nil || s.takes(needs))
}

// await waits until a task for the receiver is due, and leaves it there.
func (q *Queue) await(ctx context.Context, which served) error {
	for ctx.Err() == nil {
		q.mu.Lock()
		best, wait := q.best(which)
		changed := q.changed
		q.mu.Unlock()
		if best >= 0 {
			return nil
		}
		if err := news(ctx, wait, changed); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// news waits until it is time to look again.
func news(ctx context.Context, wait time.Duration, changed <-chan struct{}) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// TryReceive returns the next ticket that is due, and false when there is none.
func (q *Queue) TryReceive(queue string) (jobs.Ticket, bool) {
	d, found, _, _ := q.take(served{queue: queue})
	return d.Ticket, found
}

// Len is the number of tickets that no worker received, due or not.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Advance moves the queue's clock forward, so that delayed tickets become due.
func (q *Queue) Advance(d time.Duration) {
	q.clock.advance(d)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake()
}

// Break makes Push fail with err until Break(nil).
func (q *Queue) Break(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken = err
}

func (q *Queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// take removes the best task that is due. When there is none it says how long
// until the next one is, and returns a channel that is closed by news.
func (q *Queue) take(which served) (t jobs.Delivery, found bool, wait time.Duration, changed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	best, wait := q.best(which)
	if best < 0 {
		return jobs.Delivery{}, false, wait, q.changed
	}
	d := q.waiting[best]
	q.waiting = slices.Delete(q.waiting, best, best+1)
	at := partOf(d.Ticket)
	if q.turns[at] == nil {
		q.turns[at] = map[string]int{}
	}
	q.clockOf[at] = q.had(d.Ticket)
	q.turns[at][d.Ticket.Turn] = q.had(d.Ticket) + jobs.MaxWeight/max(1, q.weights[at.queue][d.Ticket.Turn])
	if d.Plain() {
		q.inHand[d.Task] = d.Delivery
	}
	return d.Delivery, true, 0, nil
}

// had is how many turns the name of a ticket has had, those from when it had nothing to
// do not counted. The caller holds the lock.
func (q *Queue) had(t jobs.Ticket) int {
	at := partOf(t)
	return max(q.turns[at][t.Turn], q.clockOf[at])
}

func partOf(t jobs.Ticket) part { return part{t.Queue, jobs.Priorities()[urgency(t)]} }

// best is where the best task that is due waits; when there is none it is below 0, with
// the time until the next one is due. The caller holds the lock.
func (q *Queue) best(which served) (best int, wait time.Duration) {
	now := q.clock.now()
	best, wait = -1, time.Hour
	before := func(a, b jobs.Ticket) bool {
		if urgency(a) != urgency(b) || a.Queue != b.Queue {
			return urgency(a) < urgency(b)
		}
		return q.had(a) < q.had(b)
	}
	for i, d := range q.waiting {
		_, paused := q.paused[partOf(d.Ticket)]
		switch {
		case paused || !which.wants(d.Ticket):
		case now.Before(d.due):
			wait = min(wait, d.due.Sub(now))
		case best < 0 || before(d.Ticket, q.waiting[best].Ticket):
			best = i
		}
	}
	return best, wait
}

// urgency is 0 for the most urgent tickets; no priority means normal.
func urgency(t jobs.Ticket) int {
	if t.Priority == "" {
		t.Priority = jobs.PriorityNormal
	}
	return slices.Index(jobs.Priorities(), t.Priority)
}
