// Package webhooks tells addresses outside the farm of jobs that have ended. A [Caller]
// makes calls of the stream of ended jobs and keeps them in one step with its cursor, so
// that a crash loses none; then it brings each call to its endpoint until that accepts it,
// for a day. The worker runs one beside the reconciler.
package webhooks

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// reader is the reader of the ended jobs whose cursor says which calls were made.
const reader = "webhooks"

// Deps is what a Caller needs.
type Deps struct {
	Endings  jobs.Endings
	Webhooks jobs.Webhooks
	Calls    jobs.DueCalls
	Sender   *Sender
}

// Options tune a Caller. The zero value works, but for Nonce.
type Options struct {
	// Nonce tells the process from all others.
	Nonce string
	// Farm is the farm's name, which events have as their source.
	Farm string
	// Observer counts what becomes of tries; it may be nil.
	Observer Observer
	// Every is how often the caller looks for ended jobs and for calls, 1 s when 0.
	Every time.Duration
	// Rand returns a number in [0, 1) that spreads retries; nil is a random one.
	Rand func() float64
}

// Observer counts.
type Observer interface {
	// Called is told what became of a try: jobs.CallDue is one that failed and is made again.
	Called(s jobs.CallState)
}

const (
	// turnTime is for how long a caller has the turn, and lookAgain how soon one that has it
	// not, or whose Redis does not answer, looks again.
	turnTime  = 15 * time.Second
	lookAgain = 5 * time.Second
	// lease is for how long a call that is tried is left alone: longer than a try with what
	// is written after it takes.
	lease = tryTime + 15*time.Second
	// grace is how long tries may go on when the process ends.
	grace = 3 * time.Second
	// atOnce is how many calls of one endpoint are tried side by side, and hostsAtOnce is for
	// all hosts together that jobs name: they must not take up all connections.
	atOnce      = 4
	hostsAtOnce = 32
	// page is how many ended jobs are read at once, and most how many endpoints are looked at.
	page = 25
	most = 1000
)

// Caller makes calls and brings them to their endpoints. One process of a farm does so at a
// time, for as long as it has the turn; a turn that is lost does no harm, since each call is
// taken for a while.
type Caller struct {
	log  *slog.Logger
	d    Deps
	opts Options
	wake chan struct{}
	all  sync.WaitGroup

	mu sync.Mutex
	// busy is how many calls of each endpoint are being tried.
	busy map[string]int
}

// New makes a Caller.
func New(lg *slog.Logger, d Deps, o Options) *Caller {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	if o.Every == 0 {
		o.Every = time.Second
	}
	return &Caller{log: lg, d: d, opts: o, wake: make(chan struct{}, 1), busy: map[string]int{}}
}

// Run calls until ctx ends. Tries that are under way then have a moment to end.
func (c *Caller) Run(ctx context.Context) {
	trying, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer c.all.Wait()
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, cut) })
	for {
		mine, err := c.pass(ctx, trying)
		wait := c.opts.Every
		if err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "calling webhooks failed; tried again", "err", err)
		}
		if err != nil || !mine {
			wait = lookAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-c.wake:
		}
	}
}

// pass makes calls of the jobs that have ended since the last time, and begins to try those
// that are due. mine is false when another caller has the turn.
func (c *Caller) pass(ctx, trying context.Context) (mine bool, err error) {
	mine, err = c.d.Calls.CallTurn(ctx, c.opts.Nonce, turnTime)
	if err != nil || !mine {
		return mine, err
	}
	if err := c.read(ctx); err != nil {
		return true, err
	}
	return true, c.tryDue(ctx, trying)
}

// hooks are the farm's webhooks by their names.
func (c *Caller) hooks(ctx context.Context) (map[string]jobs.Webhook, error) {
	list, err := c.d.Webhooks.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	hooks := map[string]jobs.Webhook{}
	for _, w := range list {
		hooks[w.Name] = w
	}
	return hooks, nil
}

// read makes calls of all jobs that have ended since the last time. They are kept in one step
// with the cursor.
func (c *Caller) read(ctx context.Context) error {
	unread, err := c.d.Endings.Unread(ctx, reader)
	if err != nil || len(unread) == 0 {
		return err
	}
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
	return calls, nil
}

// tryDue takes calls that are due, as many as there is room for at each endpoint, and begins
// to try them.
func (c *Caller) tryDue(ctx, trying context.Context) error {
	endpoints, err := c.d.Calls.DueEndpoints(ctx, most)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		n := c.room(e)
		if n == 0 {
			continue
		}
		calls, err := c.d.Calls.TakeCalls(ctx, e, n, lease)
		if err != nil {
			return err
		}
		for _, call := range calls {
			c.change(e, 1)
			c.all.Go(func() {
				c.try(trying, call)
				c.change(e, -1)
				select { // there may be more for this endpoint
				case c.wake <- struct{}{}:
				default:
				}
			})
		}
	}
	return nil
}

// room is how many more calls of an endpoint may be tried now.
func (c *Caller) room(endpoint string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := atOnce - c.busy[endpoint]
	if !isHost(endpoint) {
		return room
	}
	hosts := 0
	for e, n := range c.busy {
		if isHost(e) {
			hosts += n
		}
	}
	return max(0, min(room, hostsAtOnce-hosts))
}

// isHost reports whether an endpoint is a host that jobs name.
func isHost(endpoint string) bool { return strings.HasPrefix(endpoint, "url:") }

func (c *Caller) change(endpoint string, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[endpoint] += by; c.busy[endpoint] == 0 {
		delete(c.busy, endpoint)
	}
}

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
		if call.Hook == "" {
			w = jobs.Webhook{URL: call.URL, Secrets: call.Secrets}
		}
		after = c.d.Sender.Send(ctx, w.URL, within(hookSecrets, w.Secrets), call.ID, call.Event)
		if ctx.Err() != nil {
			return
		}
		next = c.judge(call, after)
	}
	next.Last = call.Taken.Add(time.Since(began))
	c.record(ctx, call, next, after)
}

// hookSecrets is the folder of the worker's secrets that has those of webhooks.
const hookSecrets = "webhooks"

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
