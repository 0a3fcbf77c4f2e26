package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// orderLooks is how often a worker looks for the order of its host that has one, or
	// runs jobs: it obeys within two seconds, also when the hint at an order is lost. What
	// is known before a claim is no older.
	orderLooks = 1500 * time.Millisecond
	// idleLooks is how often it looks else: then only what it says of itself is late, and a
	// farm that has nothing to do should leave its Redis alone.
	idleLooks = 20 * orderLooks
	// orderTime bounds one look.
	orderTime = 5 * time.Second
)

// obedience is what a worker knows of the order for its host. While Redis is away the
// last one holds.
type obedience struct {
	hinted  chan struct{} // nudges watchOrders
	known   chan struct{} // closed once the order was read
	looking chan struct{} // holds a token while the order is read, so that no older answer comes last

	holding sync.Mutex // one at a time pauses the intake, or lets it go

	mu    sync.Mutex // guards what follows
	order jobs.HostOrder
	asked time.Time // when it was asked for last, with an answer
}

func newObedience() obedience {
	return obedience{hinted: make(chan struct{}, 1), known: make(chan struct{}), looking: make(chan struct{}, 1)}
}

func (o *obedience) get() jobs.HostOrder {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.order
}

func (o *obedience) set(order jobs.HostOrder, asked time.Time) (was jobs.HostOrder) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was, o.order, o.asked = o.order, order, asked
	return was
}

// age is how old what is known may be.
func (o *obedience) age() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.asked)
}

// Ordered is the order that keeps the worker from taking jobs, nil when there is none.
func (w *Worker) Ordered() error {
	o := w.order.get()
	if o.Takes() {
		return nil
	}
	return outOfFarm{o}
}

// outOfFarm gives a ticket back.
type outOfFarm struct{ order jobs.HostOrder }

func (o outOfFarm) Error() string {
	return fmt.Sprintf("an operator's order keeps this host from taking jobs: %s (since %s)", o.order, o.order.Since.UTC().Format(time.RFC3339))
}

// handedBack is the cause of an attempt's end whose host is drained, and drains it as a
// worker that ends does.
type handedBack struct{ order jobs.HostOrder }

func (h handedBack) Error() string { return fmt.Sprintf("the host is out of the farm: %s", h.order) }

func (handedBack) Unwrap() error { return errDrain }

// drainReason is what the events of a job say of an attempt that was handed back.
func drainReason(err error) string {
	if h, ok := errors.AsType[handedBack](err); ok {
		return h.Error()
	}
	return errDrain.Error()
}

// holdIntake pauses the intake while the host is unfit, or an order keeps it from taking
// jobs, or it has had its only one. All change at any time; what changed is noted before
// the call, so that the last caller sees all of it.
func (w *Worker) holdIntake() {
	w.order.holding.Lock()
	defer w.order.holding.Unlock()
	_, unfit := w.fit.get()
	w.Intake.Pause(unfit != nil || w.Ordered() != nil || w.hasHadItsJob())
}

// orderKnown waits until the order of this host was read, however long Redis is away: it
// may have been given while no worker was there. false means that ctx ended first.
func (w *Worker) orderKnown(ctx context.Context) bool {
	if w.Orders == nil {
		return true
	}
	select {
	case <-w.order.known:
		return true
	case <-ctx.Done():
		return false
	}
}

// watchOrders obeys the orders for this host until ctx ends, as soon as it is known to be
// this worker's.
func (w *Worker) watchOrders(ctx context.Context) {
	if w.Orders == nil || !w.isSettled(ctx) {
		return
	}
	read, mute := false, false
	for ctx.Err() == nil {
		err := w.lookForOrder(ctx, 0)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !mute:
			w.log.WarnContext(ctx, "reading the order of this host failed; the last one holds", "err", err)
		case err == nil && !read:
			read = true
			close(w.order.known)
		}
		mute = err != nil
		w.untilNextOrder(ctx, mute)
	}
}

// untilNextOrder waits until it is time for a look, or ctx ends. An idle host without an
// order is asked before its next claim, and has time; after a look that failed none has.
func (w *Worker) untilNextOrder(ctx context.Context, soon bool) {
	t := time.NewTicker(orderLooks)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.order.hinted:
			return
		case <-t.C:
			if soon || w.Ordered() != nil || w.runs() || w.order.age() >= idleLooks {
				return
			}
		}
	}
}

// mayTake is why a job may not be claimed, nil when it may.
func (w *Worker) mayTake(ctx context.Context) error {
	if w.Orders == nil {
		return nil
	}
	if err := w.lookForOrder(ctx, orderLooks); err != nil {
		return err
	}
	return w.Ordered()
}

// lookForOrder reads the order of this host, unless what is known is younger than so long,
// and does what it says.
func (w *Worker) lookForOrder(ctx context.Context, unless time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	select {
	case w.order.looking <- struct{}{}:
		defer func() { <-w.order.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	asked := time.Now()
	if w.order.age() < unless {
		return nil
	}
	o, err := w.Orders.OrderOf(ctx, w.opts.HostID)
	if err != nil {
		return err
	}
	if was := w.order.set(o, asked); !was.Same(o) {
		w.ordered(ctx, was, o)
	}
	return w.handBackWhenDue(ctx, o)
}

// ordered acts on another order.
func (w *Worker) ordered(ctx context.Context, was, o jobs.HostOrder) {
	w.holdIntake()
	nudge(w.registerNow)
	_, unfit := w.fit.get()
	switch {
	case !o.Takes():
		w.log.InfoContext(ctx, "no jobs are taken", "since", o.Since.UTC().Format(time.RFC3339), "reason", o.String())
	case unfit != nil:
		w.log.InfoContext(ctx, "the order to take no jobs has ended; the host is unfit", "was", was.String(), "err", unfit)
	default:
		w.log.InfoContext(ctx, "jobs are taken again", "was", was.String())
	}
}

// handBackWhenDue stops what still runs when the time of a drain is over, for other hosts
// to begin anew. It asks for the time again and again, which an idle host need not: what
// is adopted late is handed back, too, and without Redis nothing could be.
func (w *Worker) handBackWhenDue(ctx context.Context, o jobs.HostOrder) error {
	at, ok := o.HandsBack()
	if !ok || !w.runs() {
		return nil
	}
	now, err := w.Claims.Now(ctx)
	if err != nil {
		return fmt.Errorf("ask Redis for the time: %w", err)
	}
	if now.Before(at) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.running {
		if !a.detaching {
			a.stop(handedBack{o})
		}
	}
	return nil
}

func (w *Worker) runs() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running) > 0
}
