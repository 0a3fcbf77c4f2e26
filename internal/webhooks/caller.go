// Package webhooks tells addresses outside the farm of jobs that have ended. A [Caller]
// makes calls of the stream of ended jobs and keeps them in one step with its cursor, so
// that a crash loses none; then it brings each call to its endpoint until that accepts it,
// for a day. The worker runs one beside the reconciler.
package webhooks

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Deps is what a Caller needs.
type Deps struct {
	Endings  jobs.Endings
	Webhooks jobs.Webhooks
	Calls    jobs.DueCalls
	Sender   *Sender
	// MaySign reports whether jobs of a tenant may name a secret; nil lets all.
	MaySign func(tenant, secret string) bool
}

// Options tune a Caller. The zero value works, but for Nonce.
type Options struct {
	// Nonce tells the process from all others.
	Nonce string
	// Farm is the farm's name, which events have as their source.
	Farm string
	// Observer counts what becomes of tries; it may be nil.
	Observer Observer
	// Every is how often the caller looks for ended jobs and for calls when Wake is not
	// called, 30 s when 0.
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
		o.Every = 30 * time.Second
	}
	return &Caller{log: lg, d: d, opts: o, wake: make(chan struct{}, 1), busy: map[string]int{}}
}

// Wake has the caller look soon. It is called where there may be something to do, and costs
// nothing.
func (c *Caller) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run calls until ctx ends. Tries that are under way then have a moment to end.
func (c *Caller) Run(ctx context.Context) {
	trying, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer c.all.Wait()
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, cut) })
	for {
		wait, err := c.pass(ctx, trying)
		if err != nil {
			wait = lookAgain
			if ctx.Err() == nil {
				c.log.WarnContext(ctx, "calling webhooks failed; tried again", "err", err)
			}
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
// that are due. It returns how long to wait for the next pass. While there is nothing to do
// it is one question.
func (c *Caller) pass(ctx, trying context.Context) (wait time.Duration, err error) {
	unread, err := c.d.Endings.Unread(ctx, reader)
	if err != nil || len(unread) == 0 {
		return c.opts.Every, err
	}
	mine, err := c.d.Calls.CallTurn(ctx, c.opts.Nonce, turnTime)
	if err != nil || !mine {
		return lookAgain, err
	}
	if err := c.read(ctx); err != nil {
		return 0, err
	}
	return c.tryDue(ctx, trying)
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

// tryDue takes calls that are due, as many as there is room for at each endpoint, and begins
// to try them. It returns how long it is to the next look.
func (c *Caller) tryDue(ctx, trying context.Context) (wait time.Duration, err error) {
	endpoints, next, err := c.d.Calls.DueEndpoints(ctx, most)
	if err != nil {
		return 0, err
	}
	for _, e := range endpoints {
		n := c.room(e)
		if n == 0 {
			continue
		}
		calls, err := c.d.Calls.TakeCalls(ctx, e, n, lease)
		if err != nil {
			return 0, err
		}
		for _, call := range calls {
			c.change(e, 1)
			c.all.Go(func() {
				c.try(trying, call)
				c.change(e, -1)
				c.Wake() // there may be more for this endpoint
			})
		}
	}
	if next == 0 {
		next = lookAgain
	}
	return min(next, c.opts.Every), nil
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
