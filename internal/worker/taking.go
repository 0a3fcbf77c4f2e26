package worker

import "errors"

// Taking is why no tickets are asked for, nil when they are. A host that is unfit asks
// for them when it is well again; see Unfit.
func (w *Worker) Taking() error {
	if w.taking.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drain.begun {
		return errors.New("the worker drains: it takes no new jobs, and ends with those that run")
	}
	return errors.New("the worker has just started: it looks at this host, and at what an earlier worker left here")
}

// Ending reports whether an operator drains this worker. One that begins anew as another
// host does not end.
func (w *Worker) Ending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drain.mode != "" && !w.anew
}
