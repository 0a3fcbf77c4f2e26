package webhooks

import (
	"context"
	"maps"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// reader is the reader of the ended jobs whose cursor says of which jobs calls were made.
const reader = jobs.CallsReader

// read makes calls of all jobs that have ended since the last time. They are kept in one step
// with the cursor.
func (c *Caller) read(ctx context.Context) error {
	for {
		p, err := c.d.Endings.Ended(ctx, reader, page)
		if err != nil || len(p.Jobs) == 0 {
			return err
		}
		if p.Missed > 0 && p.From > 0 { // a new farm begins with what is there
			c.log.WarnContext(ctx, "jobs ended faster than webhooks heard of them", "missed", p.Missed)
		}
		hooks, err := c.hooks(ctx) // after the page: those that were there when its jobs ended
		if err != nil {
			return err
		}
		var calls []jobs.HookCall
		for _, e := range p.Jobs {
			of, err := c.callsOf(e, hooks)
			if err != nil {
				return err
			}
			calls = append(calls, of...)
		}
		mine, refused, err := c.d.Calls.EndedCalls(ctx, reader, c.opts.Nonce, p, calls...)
		if err != nil || !mine {
			return err // another caller has the turn, or Redis has lost what the page ends with
		}
		if refused > 0 {
			c.log.WarnContext(ctx, "too many calls wait for an endpoint; it does not hear of jobs", "count", refused)
		}
	}
}

// callsOf are the calls that the end of a job leads to.
func (c *Caller) callsOf(e jobs.EndedJob, hooks map[string]jobs.Webhook) ([]jobs.HookCall, error) {
	if e.Job != nil && (e.Job.Newer || e.Job.Damaged != "") {
		e.Job = nil // what is not understood is not told
	}
	var calls []jobs.HookCall
	for _, name := range slices.Sorted(maps.Keys(hooks)) {
		w := hooks[name]
		old := e.Job != nil && e.Job.Finished.Before(w.Created) // from before it was added
		if w.Damaged != "" || w.Disabled != "" || old || !w.Only.Takes(e) {
			continue
		}
		call, err := newCall(c.opts.Farm, "hook "+name, e)
		if err != nil {
			return nil, err
		}
		call.Hook = name
		calls = append(calls, call)
	}
	if e.Job == nil {
		return calls, nil
	}
	list := e.Job.Spec.Notify
	for _, n := range list[:min(len(list), jobs.MaxNotify)] {
		// A job may have been refused because of it.
		refused := n.Validate() != nil || n.Secret != "" && c.d.MaySign != nil && !c.d.MaySign(e.Job.Spec.Tenant, n.Secret)
		if refused || !n.Takes(e.State) {
			continue
		}
		call, err := newCall(c.opts.Farm, "notify "+n.URL, e)
		if err != nil {
			return nil, err
		}
		if call.URL = n.URL; n.Secret != "" {
			call.Secrets = []string{n.Secret}
		}
		calls = append(calls, call)
	}
	return calls, nil
}
