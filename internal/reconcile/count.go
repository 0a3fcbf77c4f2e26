package reconcile

import "context"

// metricsReader is the reader of the ended jobs whose cursor says which are counted.
const metricsReader = "metrics"

// count shows the observer every job that ended since the last time. The cursor moves
// before a page is counted: the counts live in this process and go with it, so what
// counts twice would be worse than what a crash right here leaves out. A page whose
// acknowledgement was not answered is acknowledged again, and counted then.
func (r *Reconciler) count(ctx context.Context) error {
	for {
		p, err := r.records.Ended(ctx, metricsReader, r.opts.Batch)
		if err != nil || len(p.Jobs) == 0 {
			return err
		}
		r.uncounted = &p
		if err := r.countPage(ctx); err != nil {
			return err
		}
	}
}

// countPage acknowledges the page that is not counted, if there is one, and counts it.
// It is called whether or not this reconciler still leads.
func (r *Reconciler) countPage(ctx context.Context) error {
	if r.uncounted == nil {
		return nil
	}
	mine, err := r.records.Acknowledge(ctx, metricsReader, r.nonce, *r.uncounted)
	if err != nil {
		return err
	}
	p := *r.uncounted
	r.uncounted = nil
	if !mine {
		return nil // another worker led meanwhile, and counted it
	}
	if p.Missed > 0 {
		r.log.WarnContext(ctx, "jobs ended faster than they were counted", "missed", p.Missed)
	}
	for _, e := range p.Jobs {
		r.opts.Observer.Ended(e)
	}
	return nil
}
