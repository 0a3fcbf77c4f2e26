package simulation

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// obeysWithin is how long a process that is at work and reaches Redis may take jobs after
// its host was ordered not to.
const obeysWithin = 2 * time.Second

// outOfFarm has an operator take a host out of the farm, and back some time later. One is
// out at a time, so that jobs do not wait for long.
func (f *farm) outOfFarm(r *rand.Rand, p *process) bool {
	if !f.ordering.TryLock() {
		return false
	}
	o := jobs.HostOrder{Kind: jobs.OrderCordon, By: "the monkey"}
	if r.IntN(3) > 0 {
		o.Kind = jobs.OrderDrain
		if n := r.IntN(4); n > 0 {
			timeout := jobs.Duration(time.Duration(n-1) * 10 * time.Second)
			o.Timeout = &timeout
		}
	}
	stays := time.Duration(r.IntN(180)) * time.Second
	if _, err := f.truth.Order(context.Background(), p.identity, o); err != nil {
		f.oracle.Violation("order host %s: %v", p.h.name, err)
	}
	go func() {
		defer f.ordering.Unlock()
		time.Sleep(stays)
		for range 3 { // Redis may lose that it ended
			f.resumeAll()
			time.Sleep(5 * time.Second)
		}
	}()
	return true
}

// resumeAll has all hosts take jobs again.
func (f *farm) resumeAll() {
	all, _ := f.truth.AllOrders(context.Background())
	for host := range all {
		_, _ = f.truth.Resume(context.Background(), host)
	}
}

// Cancellations loses hints at orders.
func (r reporting) Cancellations(ctx context.Context) <-chan string {
	heard, out := r.Claims.Cancellations(ctx), make(chan string)
	go func() {
		defer close(out)
		n := 0
		for hint := range heard {
			n++
			if _, ok := jobs.HintedOrder(hint); ok && draw(r.p.h.farm.seed, "hint", r.p.number, n)%2 == 0 {
				continue
			}
			select {
			case out <- hint:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// obeys checks, when the process sets out to claim, that it has no order not to, and that
// it could know of that.
func (p *process) obeys() {
	o, err := p.h.farm.truth.OrderOf(context.Background(), p.identity)
	if err != nil || o.Takes() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	since := o.Since
	// A Redis that went back may have an order again that had ended.
	for _, t := range []time.Time{p.began, p.ignorant, time.UnixMicro(p.h.farm.wentBack.Load())} {
		if t.After(since) {
			since = t
		}
	}
	if d := time.Since(since); d > obeysWithin && p.frozen == nil {
		p.h.farm.oracle.Violation("I14 %s sets out to claim %s after its host was told: %s", p, d, o)
	}
}

// heardNothing notes that the process may not know of an order that was given by now.
func (p *process) heardNothing() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ignorant = time.Now()
}
