package worker

import (
	"context"
	"maps"
	"time"
)

// DrainMode is what becomes of running jobs when a worker ends.
type DrainMode string

// The modes. Each hands back what is left when Options.Drain is over.
const (
	// DrainFinish lets running jobs end.
	DrainFinish DrainMode = "finish"
	// DrainHandBack stops them at once, for other workers to begin anew.
	DrainHandBack DrainMode = "hand-back"
	// DrainAdopt leaves containers running for the next worker of this host,
	// which has to start before the lease has passed. What is not that far yet
	// goes on until it has a container, or ends.
	DrainAdopt DrainMode = "adopt"
)

// DrainModes lists them.
func DrainModes() []DrainMode { return []DrainMode{DrainFinish, DrainHandBack, DrainAdopt} }

// drain is how a worker ends, in this order: it stops its intake, leaves or waits
// for what runs, and gives the rest back. Worker.mu guards mode, begun and handBack.
type drain struct {
	// stopIntake is closed by Drain: no tickets are asked for any more.
	stopIntake chan struct{}
	mode       DrainMode // "" until Drain is called
	begun      bool      // nothing is claimed any more
	handBack   bool      // what runs is stopped and handed back

	// adopted ends when containers are left to the next worker of this host;
	// leaveContainers ends it.
	adopted         context.Context //nolint:containedctx // spans all attempts, not a call
	leaveContainers context.CancelFunc
	// detached is closed when the attempts that are left all wait to leave their
	// containers.
	detached chan struct{}

	// delivery spans the delivery of results, however long Redis is away; lastCall
	// ends it when the worker has to end.
	delivery context.Context //nolint:containedctx // spans all attempts, not a call
	lastCall context.CancelFunc
}

func newDrain() drain {
	d := drain{stopIntake: make(chan struct{}), detached: make(chan struct{})}
	d.delivery, d.lastCall = context.WithCancel(context.Background())
	d.adopted, d.leaveContainers = context.WithCancel(context.Background())
	return d
}

// detach waits to leave an attempt's container behind: the channel is closed once
// every other attempt has ended or waits, too. Until then the worker answers for the
// leases of all.
func (w *Worker) detach(a *attempt) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.detaching = true
	w.detachIfAllWait()
	return w.drain.detached
}

// detachIfAllWait releases the attempts that wait to detach, once every remaining attempt
// waits; w.mu is held. One that left earlier would lose its lease while the worker still
// waits for another, and the next worker could start only after that.
func (w *Worker) detachIfAllWait() {
	if w.drain.adopted.Err() == nil {
		return
	}
	for _, a := range w.running {
		if !a.detaching {
			return
		}
	}
	select {
	case <-w.drain.detached:
	default:
		close(w.drain.detached)
	}
}

// Drain makes Run end in this mode. Only the first call counts.
func (w *Worker) Drain(mode DrainMode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anew = false
	w.endWith(mode)
}

// endWith makes Run end; w.mu is held.
func (w *Worker) endWith(mode DrainMode) {
	if w.drain.mode == "" {
		w.drain.mode = mode
		close(w.drain.stopIntake)
	}
}

// drainNow waits for running attempts and hands the rest back. The order: nothing new is
// claimed, then containers may be left or patience runs, then what is left is stopped,
// and only then lastCall ends the delivery of results. Ending delivery earlier would
// throw away results of jobs that have ended; stopping without a bound on delivery
// would keep the process for as long as Redis is away.
func (w *Worker) drainNow(hurry context.Context) {
	w.mu.Lock()
	w.drain.begun = true
	w.taking.Store(false)
	mode := w.drain.mode
	w.mu.Unlock()
	patience := w.opts.Drain
	switch mode {
	case DrainHandBack:
		patience = 0
	case DrainAdopt:
		w.drain.leaveContainers()
	}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() { w.wg.Wait(); close(done) }()
	go func() {
		defer close(watched)
		w.watchLeft(done)
	}()
	defer func() { <-watched }()
	select {
	case <-done:
		return
	case <-hurry.Done():
	case <-time.After(patience):
	}
	w.mu.Lock()
	w.drain.handBack = true
	for _, a := range w.running {
		if !a.detaching {
			a.stop(errDrain)
		}
	}
	w.mu.Unlock()
	select {
	case <-done:
	case <-time.After(DeliveryGrace):
		w.drain.lastCall()
		<-done
	}
}

// watchLeft ends containers that were left to the next worker of this host, and whose
// leases are about to pass because this one still waits for something: no next one has
// come yet.
func (w *Worker) watchLeft(done <-chan struct{}) {
	tick := time.NewTicker(w.opts.Renew / 5)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		left := maps.Clone(w.leftBehind)
		w.mu.Unlock()
		if len(left) == 0 {
			continue
		}
		if err := w.reap(context.Background(), func(e leftover) bool { return left[e.Job] == e.Attempt }); err != nil {
			w.log.Warn("look after containers that were left failed; tried again", "err", err)
		}
	}
}

// DeliveryGrace is how long a worker that has to end tries to deliver results and to
// hand jobs back while Redis is away.
const DeliveryGrace = 30 * time.Second
