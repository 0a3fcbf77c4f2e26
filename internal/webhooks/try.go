package webhooks

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// try makes a try, and records what it has led to. Where that cannot be, the call is due again
// when its lease has passed.
func (c *Caller) try(ctx context.Context, call jobs.HookCall) {
	began := time.Now()
	hooks, err := c.hooks(ctx)
	if err == nil && call.Test && call.Event == nil {
		call.Event, err = testEvent(c.opts.Farm, call)
	}
	if err != nil {
		c.log.WarnContext(ctx, "preparing a call failed; it is tried again", "call", call.ID, "err", err)
		return
	}
	next, after := call, verdict{}
	w, known := hooks[call.Hook]
	switch {
	case call.Hook != "" && !known:
		next.State, next.Said = jobs.CallDropped, "the webhook was removed"
	case w.Damaged != "":
		next.State, next.Said = jobs.CallDropped, w.Damaged
	case w.Disabled != "" && !call.Test:
		next.State, next.Said = jobs.CallDropped, "the webhook is disabled"
	default:
		folder := hookSecrets
		if call.Hook == "" {
			w, folder = jobs.Webhook{URL: call.URL, Secrets: call.Secrets}, jobSecrets
		}
		after = c.d.Sender.Send(ctx, w.URL, within(folder, w.Secrets), call.ID, call.Event)
		if ctx.Err() != nil {
			return
		}
		next = c.judge(call, after)
	}
	next.Last = call.Taken.Add(time.Since(began))
	c.record(ctx, call, next, after)
}

// The folders of the worker's secrets that have those of webhooks, and those that jobs may
// name: with a secret of a webhook a job could have the farm sign for its receiver.
const (
	hookSecrets = "webhooks"
	jobSecrets  = "notify"
)

func within(folder string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = path.Join(folder, name)
	}
	return paths
}

// judge says what a try has led to. Times are on the clock of Redis, which the call was
// taken by.
func (c *Caller) judge(call jobs.HookCall, v verdict) jobs.HookCall {
	next := call
	next.Tries++
	next.Status, next.Said, next.Next = v.status, v.said, time.Time{}
	if next.First.IsZero() {
		next.First = call.Taken
	}
	until := next.First.Add(tryFor)
	switch {
	case v.accepted:
		next.State = jobs.CallDelivered
	case v.gone, call.Test, !call.Taken.Before(until):
		next.State = jobs.CallGivenUp
	default:
		next.State = jobs.CallDue
		next.Next = call.Taken.Add(pause(next.Tries, v.after, c.random()))
		if next.Next.After(until) {
			next.Next = until // the last try
		}
	}
	return next
}

// record keeps what a try has led to. While Redis does not answer it is tried again, until
// another process may have taken the call.
func (c *Caller) record(ctx context.Context, call, next jobs.HookCall, v verdict) {
	lg := c.log.With("call", call.ID, "webhook", call.Hook, "job_id", call.Job)
	patience := time.After(call.Until.Sub(next.Last))
	for {
		kept, givenUp, err := c.d.Calls.KeepCall(ctx, next)
		if err == nil && !kept {
			lg.WarnContext(ctx, "a call took too long; another process has it")
			return
		}
		if err == nil {
			c.tell(ctx, lg, next)
			c.disable(ctx, next, givenUp, v)
			return
		}
		lg.WarnContext(ctx, "keeping what became of a call failed; tried again", "err", err)
		select {
		case <-time.After(time.Second):
		case <-patience:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (c *Caller) tell(ctx context.Context, lg *slog.Logger, call jobs.HookCall) {
	if c.opts.Observer != nil {
		c.opts.Observer.Called(call.State)
	}
	switch call.State {
	case jobs.CallGivenUp:
		lg.WarnContext(ctx, "gave a call up", "text", call.Said)
	case jobs.CallDropped:
		lg.InfoContext(ctx, "dropped a call", "reason", call.Said)
	case jobs.CallDue, jobs.CallDelivered:
		lg.DebugContext(ctx, "made a try of a call", "state", call.State, "text", call.Said)
	}
}

// disable turns a webhook off that is gone, or that has not accepted many calls in a row. A
// crash before that leaves the count, so that the next call does it.
func (c *Caller) disable(ctx context.Context, call jobs.HookCall, givenUp int, v verdict) {
	why := ""
	switch {
	case call.Hook == "" || call.Test || call.State != jobs.CallGivenUp:
		return
	case v.gone:
		why = "it answered 410 Gone"
	case givenUp >= giveUps:
		why = fmt.Sprintf("%d calls in a row were given up, each after a day; the last time: %s", givenUp, call.Said)
	default:
		return
	}
	err := c.d.Webhooks.ChangeWebhook(ctx, call.Hook, func(w *jobs.Webhook) error {
		if w.Disabled == "" {
			w.Disabled, w.DisabledAt = why, call.Last
		}
		return nil
	})
	if err != nil {
		c.log.WarnContext(ctx, "disabling a webhook failed; tried again with its next call", "webhook", call.Hook, "err", err)
		return
	}
	c.log.WarnContext(ctx, "disabled a webhook", "webhook", call.Hook, "reason", why)
}
