package worker

import (
	"context"
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

// waitToPart tells when every attempt that is left waits as this one does.
func (w *Worker) waitToPart(a *attempt) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.parting = true
	w.partWhenAllWait()
	return w.parted
}

// partWhenAllWait lets the attempts go that wait to part, once no other is left; w.mu
// is held.
func (w *Worker) partWhenAllWait() {
	if w.leaving.Err() == nil {
		return
	}
	for _, a := range w.running {
		if !a.parting {
			return
		}
	}
	select {
	case <-w.parted:
	default:
		close(w.parted)
	}
}

// Drain makes Run end in this mode. Only the first call counts.
func (w *Worker) Drain(mode DrainMode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anew = false
	w.tell(mode)
}

// tell ends Run; w.mu is held.
func (w *Worker) tell(mode DrainMode) {
	if w.mode == "" {
		w.mode = mode
		close(w.told)
	}
}

// drain waits for running attempts and hands the rest back.
func (w *Worker) drain(hurry context.Context) {
	w.mu.Lock()
	w.draining = true
	w.taking.Store(false)
	mode := w.mode
	w.mu.Unlock()
	patience := w.opts.Drain
	switch mode {
	case DrainHandBack:
		patience = 0
	case DrainAdopt:
		w.leave()
	}
	done := make(chan struct{})
	go func() { w.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-hurry.Done():
	case <-time.After(patience):
	}
	w.mu.Lock()
	w.stopping = true
	for _, a := range w.running {
		if !a.parting {
			a.stop(errDrain)
		}
	}
	w.mu.Unlock()
	select {
	case <-done:
	case <-time.After(lastWords):
		w.giveUp()
		<-done
	}
}

// lastWords is how long a worker that has to end tries to deliver results and
// to hand jobs back while Redis is away.
const lastWords = 30 * time.Second
