package jobstest

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// IntakeOptions tune an Intake; the zero value works.
type IntakeOptions struct {
	// Queue to take tasks from, any when empty.
	Queue string
	// Slots is how many tasks may be in hand at once, 0 for any number.
	Slots int
	// Again is after how long a task comes back that its handler failed on.
	Again time.Duration
	// Settle decides what becomes of a task that is no longer in hand; handled tells
	// that its handler returned, and without an error. When nil, the queue is done with
	// a handled task, and gives out the others again.
	Settle func(d jobs.Delivery, handled bool)
}

// Intake hands a worker the tasks of a Queue in memory. It implements jobs.Intake.
type Intake struct {
	queue *Queue
	o     IntakeOptions
	// taking ends with StopTaking.
	taking context.Context
	stop   context.CancelFunc
	slots  chan struct{} // nil for any number

	mu sync.Mutex
	// released is closed when a pause ends, nil while there is none.
	released chan struct{}
	// fits is set by Start.
	fits func(jobs.Needs) jobs.Fit
}

var _ jobs.Intake = (*Intake)(nil)

// NewIntake makes an Intake of q.
func NewIntake(q *Queue, o IntakeOptions) *Intake {
	in := &Intake{queue: q, o: o}
	in.taking, in.stop = context.WithCancel(context.Background())
	if o.Slots > 0 {
		in.slots = make(chan struct{}, o.Slots)
	}
	if in.o.Settle == nil {
		in.o.Settle = in.settle
	}
	return in
}

// Start implements jobs.Intake.
func (in *Intake) Start(h jobs.Handler, fits func(jobs.Needs) jobs.Fit) error {
	in.fits = fits
	go func() {
		for in.slot() {
			d, ok := in.next()
			if !ok {
				return
			}
			go in.handle(h, d)
		}
	}()
	return nil
}

// slot waits for a free slot and takes it; false means that no more tasks are taken.
func (in *Intake) slot() bool {
	if in.slots == nil {
		return true
	}
	select {
	case in.slots <- struct{}{}:
		return true
	case <-in.taking.Done():
		return false
	}
}

// next takes a task. It looks whether it may only when there is one, so that nothing
// that is pushed after Pause or StopTaking is taken.
func (in *Intake) next() (jobs.Delivery, bool) {
	which := served{queue: in.o.Queue, takes: func(n jobs.Needs) bool { return in.fits(n) == jobs.FitsNow }}
	for in.queue.await(in.taking, which) == nil {
		in.mu.Lock()
		released := in.released
		in.mu.Unlock()
		if released != nil {
			select {
			case <-released:
			case <-in.taking.Done():
			}
			continue
		}
		if d, found, _, _ := in.queue.take(which); found {
			return d, true
		}
	}
	return jobs.Delivery{}, false
}

// handle gives a task to its handler, which may end its goroutine.
func (in *Intake) handle(h jobs.Handler, d jobs.Delivery) {
	handled := false
	defer func() {
		if in.slots != nil {
			<-in.slots
		}
		in.o.Settle(d, handled)
	}()
	handled = h(context.WithoutCancel(in.taking), d) == nil
}

func (in *Intake) settle(d jobs.Delivery, handled bool) {
	if handled {
		in.queue.Done(d)
		return
	}
	in.queue.ReturnAny(d, in.o.Again)
}

// Pause implements jobs.Intake.
func (in *Intake) Pause(on bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case on && in.released == nil:
		in.released = make(chan struct{})
	case !on && in.released != nil:
		close(in.released)
		in.released = nil
	}
}

// Recheck implements jobs.Intake.
func (in *Intake) Recheck() {
	in.queue.mu.Lock()
	defer in.queue.mu.Unlock()
	in.queue.wake()
}

// Warm implements jobs.Intake: any host is as good as another.
func (*Intake) Warm(ctx context.Context, _ []string) error { return ctx.Err() }

// StopTaking implements jobs.Intake.
func (in *Intake) StopTaking() { in.stop() }

// Close implements jobs.Intake.
func (in *Intake) Close() error {
	in.stop()
	return nil
}
