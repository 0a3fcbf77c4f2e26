package worker

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// owner names this worker as the owner under a new nonce.
func (w *Worker) owner() jobs.Owner {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return jobs.Owner{
		Worker: w.opts.Name, Host: w.opts.HostID, Nonce: hex.EncodeToString(b[:]), Lease: w.opts.Lease,
		Offer: w.offer,
	}
}

// Busy is how many jobs run here, of how many that may.
func (w *Worker) Busy() (busy, slots int) { return len(w.slots), cap(w.slots) }

// enter has a drain wait until it is known whether a job is ours. false means
// that nothing may be claimed any more.
func (w *Worker) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drain.begun || w.spent() {
		return false
	}
	w.leaving.claiming++
	w.wg.Add(1)
	return true
}

// leave undoes enter.
func (w *Worker) leave() {
	w.mu.Lock()
	w.leaving.claiming--
	w.mu.Unlock()
	w.wg.Done()
}

// start registers an attempt; the caller runs live. slot says whether it holds
// a slot, which it frees then.
func (w *Worker) start(job jobs.Job, nonce string, slot bool) *attempt {
	a := newAttempt(w, job, nonce)
	a.slot = slot
	w.mu.Lock()
	w.running[job.ID] = a
	w.leaving.began++
	if w.drain.handBack { // adopted while the worker drains
		a.stop(errDrain)
	}
	w.mu.Unlock()
	w.wg.Add(1)
	w.Observer.Slots(w.Busy())
	return a
}

// ended undoes start.
func (w *Worker) ended(a *attempt) {
	w.mu.Lock()
	delete(w.running, a.job.ID)
	w.detachIfAllWait()
	w.mu.Unlock()
	if a.slot {
		<-w.slots
	}
	if c := a.job.Spec.Concurrency; c != nil {
		go w.callNext(*c)
	}
	w.roomFor(w.usedBy(a.job.Spec))
	if a.left {
		w.gaveUpEngine.Store(true)
		if w.silence.length(time.Now()) == 0 { // it came back before the attempt was over
			nudge(w.straysNow)
		}
	}
	w.Observer.Slots(w.Busy())
	close(a.done)
	w.wg.Done()
}
