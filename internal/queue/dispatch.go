package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// dispatcher decides from which lane asynq's server gets its next ticket. The server
// knows only the inboxes of its queues. The dispatcher is a go-redis hook on the
// server's own client, and has a say in two of asynq's scripts:
//
// It sends the dequeue script to the lane whose turn it is, or holds it until there is
// one. asynq does all else by the queue that a task names, which is that lane. asynq
// dequeues on a single goroutine, so at most one call waits here.
//
//	asynq: dequeue from "builds" -> hook: the board says "builds~web" -> from there
//	asynq: dequeue from "builds" -> hook: no lane has tickets, waits  -> "empty"
//
// And it answers the forwarder, which looks for delayed tasks every so often, with
// "none" when an inbox has neither those nor waiting ones: one round trip takes the
// place of two scripts. When some wait it puts the inbox on the board, so this is also
// how tasks are found whose producer knows of no board, and how a worker learns that an
// operator has paused a queue in asynq.
type dispatcher struct {
	rdb    redis.UniversalClient
	log    *slog.Logger
	queues []string
	board  board
	routes *routes
	bell   *doorbell
	// as is how this worker asks for tickets.
	as taker

	reserve reservation

	holding sync.Mutex // guards fits and held
	// fits is nil before the start.
	fits func(jobs.Needs) jobs.Fit
	// held is closed when tickets may be taken again, nil while they may.
	held chan struct{}
	// again is a turn that was picked and not used, because the call failed. Only asynq's
	// dequeue goroutine touches it.
	again *picked
	// left are the routes, by their queues, where this worker has left tickets to others, and
	// knows when to come back. Only asynq's dequeue goroutine touches it.
	left map[string][]string
	// empty is the inbox that was last found empty, nothing is when all inboxes of a queue
	// were. Only asynq's forwarder touches them.
	empty   string
	nothing map[string]time.Time
	// every is how often the forwarder looks.
	every time.Duration

	pausing sync.Mutex // guards paused and asked
	// paused are the lanes' inboxes that asynq's tools have paused, asked is when.
	paused map[string]bool
	asked  time.Time
}

// errorPause is how long asynq's server, which asks again at once, is held after an error.
const errorPause = 200 * time.Millisecond

// pausesFor is for how long a busy worker counts on what it knows of asynq's pauses.
const pausesFor = time.Second

func newDispatcher(rdb redis.UniversalClient, o IntakeOptions) *dispatcher {
	d := &dispatcher{
		rdb: rdb, log: o.Log, queues: o.Queues, board: newBoard(rdb), routes: newRoutes(o.Queues), paused: map[string]bool{},
		nothing: map[string]time.Time{}, every: o.Fallback, as: taker{o.Host, o.AffinityWait},
	}
	d.reserve.after, d.reserve.nonce = max(o.Reserve, o.AffinityWait), rand.Text()
	d.bell = newDoorbell(rdb, o, func(queue string) []string {
		now, _ := d.serves(queue)
		if _, any := d.reserve.keeps(queue); any { // the bells are for others meanwhile
			return []string{}
		}
		return now
	})
	return d
}

// serves lists the routes of a queue that the worker takes now, and those that it would
// beside less.
func (d *dispatcher) serves(queue string) (now, later []string) {
	d.holding.Lock()
	fits, held := d.fits, d.held != nil
	d.holding.Unlock()
	if held || fits == nil {
		return []string{}, nil
	}
	return d.routes.served(queue, fits)
}

// start learns the routes and begins to listen.
func (d *dispatcher) start(ctx context.Context, fits func(jobs.Needs) jobs.Fit) {
	d.holding.Lock()
	d.fits = fits
	d.holding.Unlock()
	d.bell.listen()
	news := d.rdb.Subscribe(ctx, routesChannel)
	d.bell.wg.Go(func() {
		<-d.bell.stop
		_ = news.Close()
	})
	d.bell.wg.Go(func() {
		// The library asks for a sign of life more often than it has to.
		for m := range news.Channel(redis.WithChannelHealthCheckInterval(time.Minute)) {
			if queue, id, text, ok := parseNews(m.Payload); ok {
				d.routes.learn(ctx, d.log, queue, id, text)
				if now, later := d.serves(queue); slices.Contains(now, id) || slices.Contains(later, id) { // else it is news for others
					d.bell.recheck(ctx)
				}
			}
		}
	})
	for _, queue := range d.queues {
		d.learn(ctx, queue)
	}
}

// learn reads the routes of a queue anew, if there may be others.
func (d *dispatcher) learn(ctx context.Context, queue string) {
	before, _ := d.serves(queue)
	if err := d.routes.refresh(ctx, d.rdb, d.log, queue); err != nil {
		d.log.WarnContext(ctx, "reading the routes of a queue failed; tried again", "queue", queue, "err", err)
		return
	}
	if now, _ := d.serves(queue); len(now) > len(before) {
		d.bell.recheck(ctx)
	}
}

// hold keeps asynq from dequeuing while it is on. Meanwhile the bells are for others.
func (d *dispatcher) hold(on bool) {
	d.holding.Lock()
	was := d.held != nil
	switch {
	case on && !was:
		d.held = make(chan struct{})
	case !on && was:
		close(d.held)
		d.held = nil
	}
	d.holding.Unlock()
	if on != was {
		d.bell.recheck(context.Background())
	}
}

// heldUntil is closed when nothing holds the dequeue any more, nil when nothing does.
func (d *dispatcher) heldUntil() <-chan struct{} {
	d.holding.Lock()
	defer d.holding.Unlock()
	return d.held
}

// passOn wakes another worker for tickets that this one has left to others and does not
// come back to: it may be the only one that knows of them.
func (d *dispatcher) passOn(left map[string][]string) {
	if len(left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), bellWait)
	defer cancel()
	for queue, routes := range left {
		if err := d.board.ring(ctx, queue, 1, routes); err != nil {
			d.log.WarnContext(ctx, "waking another worker failed; the next looks within seconds", "queue", queue, "err", err)
		}
	}
	clear(left)
}

// dequeue takes a ticket from the lane whose turn it is. When there is none it waits, and
// then says that the queue is empty: asynq sets the lease of a task before it asks for
// one, so that a call which waits must not get any.
func (d *dispatcher) dequeue(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
	nothing := func() error { cmd.SetErr(redis.Nil); return redis.Nil }
	if held := d.heldUntil(); held != nil {
		d.passOn(d.left)
		select {
		case <-held:
		case <-d.bell.stop:
		}
		return nothing()
	}
	for !d.bell.closed() {
		p, then, ok, err := d.turn(ctx)
		switch {
		case err != nil:
			select {
			case <-d.bell.stop:
			case <-time.After(errorPause):
			}
			cmd.SetErr(err)
			return err
		case !ok:
			d.bell.wait(then)
			d.forgetPauses()
			if d.bell.closed() {
				d.passOn(d.left)
			}
			return nothing()
		}
		redirect(cmd, p.lane)
		cmd.SetErr(nil)
		switch err := next(ctx, cmd); {
		case err == nil:
			d.again = nil
			return nil
		case !errors.Is(err, redis.Nil): // such as that the server has not seen the script yet
			d.again = &p
			return err
		}
		d.again = nil
		if err := d.board.foundEmpty(ctx, p); err != nil {
			d.log.WarnContext(ctx, "noting that a lane is empty failed", "queue", p.lane.String(), "err", err)
		}
	}
	return nothing()
}

// turn is the next turn of this worker, or after how long there may be one.
func (d *dispatcher) turn(ctx context.Context) (p picked, then time.Duration, ok bool, err error) {
	if d.again != nil {
		return *d.again, 0, true, nil
	}
	return d.next(ctx)
}

// next picks a lane: queues are equals, and priorities go first as often as asynq lets
// those of its queues.
func (d *dispatcher) next(ctx context.Context) (p picked, then time.Duration, ok bool, err error) {
	before := d.left
	d.left = map[string][]string{}
	defer func() {
		if ok { // it has something else to do now
			d.passOn(d.left)
		}
		d.passOn(before)
	}()
	for _, i := range mrand.Perm(len(d.queues)) {
		queue := d.queues[i]
		served, later := d.serves(queue)
		served, err := d.reserved(ctx, queue, served, later)
		if err != nil {
			return picked{}, 0, false, err
		} else if len(served) == 0 {
			continue
		}
		routes, err := d.board.among(ctx, queue, served)
		if err != nil {
			return picked{}, 0, false, err
		} else if len(routes) == 0 {
			delete(before, queue)
			continue
		}
		if !d.knowsPauses() {
			if err := d.askPauses(ctx); err != nil {
				return picked{}, 0, false, err
			}
		}
		free := d.unpaused(queue)
		if len(free) == 0 {
			continue
		}
		p, after, ok, err := d.board.next(ctx, d.as, queue, free, routes)
		if after > 0 {
			d.left[queue] = routes
		}
		if ok || err != nil {
			return p, 0, ok, err
		}
		delete(before, queue)
		if after > 0 && (then == 0 || after < then) {
			then = after
		}
	}
	return picked{}, then, false, nil
}

// redirect has a dequeue script take from a lane.
func redirect(cmd redis.Cmder, l lane) {
	args, at := cmd.Args(), prefix(l.String())
	for i, list := range []string{"pending", "paused", "active", "lease"} {
		args[3+i] = at + list
	}
	args[8] = at + "t:"
}

// DialHook implements redis.Hook.
func (d *dispatcher) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessPipelineHook implements redis.Hook.
func (d *dispatcher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook: it watches for asynq's dequeue and forward
// scripts, which are told apart by their keys.
func (d *dispatcher) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		script, name := asynqScript(cmd)
		switch script {
		case dequeueScript:
			return d.dequeue(ctx, cmd, next)
		case forwardScript:
			if d.nothingIn(ctx, parseLane(name), cmd) {
				return nil
			}
			err := next(ctx, cmd)
			if c, ok := cmd.(*redis.Cmd); ok && err == nil {
				if n, _ := c.Int(); n > 0 { // delayed tasks are due
					d.found(ctx, parseLane(name), n)
				}
			}
			return err
		}
		return next(ctx, cmd)
	}
}

// nothingIn answers a forward script with 0 when there is nothing to forward. It
// asks Redis at the first of the two scripts that asynq runs for a queue.
func (d *dispatcher) nothingIn(ctx context.Context, in lane, cmd redis.Cmder) bool {
	c, ok := cmd.(*redis.Cmd)
	if !ok {
		return false
	}
	set, _ := c.Args()[3].(string)
	if strings.HasSuffix(set, ":scheduled") {
		d.empty = ""
		if in.priority == jobs.PriorityNormal {
			d.learn(ctx, in.queue)
		}
		has, err := d.look(ctx, in)
		if err != nil {
			return false // asynq reports it
		}
		if has.pending > 0 {
			d.found(ctx, in, has.pending)
		}
		if has.pending == 0 && !has.delayed {
			d.empty = in.String()
		}
	}
	if d.empty != in.String() {
		return false
	}
	c.SetVal(int64(0))
	return true
}

// most bounds how many tickets of an inbox are put on the board at once.
const most = 1000

// found puts an inbox with so many tasks on the board, and wakes workers for them.
func (d *dispatcher) found(ctx context.Context, in lane, n int) {
	o := opening{lane: in, n: min(n, most), inAll: true}
	if err := d.board.note(ctx, o); err != nil {
		d.log.WarnContext(ctx, "noting the tasks of a queue failed; tried again", "queue", in.String(), "err", err)
	}
}

// contents is what there is of an inbox.
type contents struct {
	delayed bool
	pending int
}

// look asks what there is of an inbox: of one that has nothing with one command, since
// that is what idle workers do all day.
func (d *dispatcher) look(ctx context.Context, in lane) (contents, error) {
	nothing, err := d.nothingAtAll(ctx, in)
	if nothing || err != nil {
		return contents{}, err
	}
	at := prefix(in.String())
	pipe := d.rdb.Pipeline()
	delayed := pipe.Exists(ctx, at+"scheduled", at+"retry")
	pending := pipe.LLen(ctx, at+"pending")
	paused := pipe.Exists(ctx, at+"paused")
	if _, err = pipe.Exec(ctx); err != nil {
		return contents{}, err
	}
	d.setPaused(ctx, in, paused.Val() > 0)
	return contents{delayed.Val() > 0, int(pending.Val())}, nil
}

// nothingAtAll reports whether an inbox has nothing. One command asks for all inboxes of a
// queue, and the answer holds for those that asynq's forwarder comes to next; in a cluster
// they are on different servers.
func (d *dispatcher) nothingAtAll(ctx context.Context, in lane) (bool, error) {
	if time.Since(d.nothing[in.queue]) < d.every/2 {
		return true, nil
	}
	looked := []lane{in}
	if _, cluster := d.rdb.(*redis.ClusterClient); !cluster {
		looked = inboxes(in.queue)
	}
	var keys []string
	for _, l := range looked {
		for _, part := range []string{"scheduled", "retry", "pending", "paused"} {
			keys = append(keys, prefix(l.String())+part)
		}
	}
	n, err := d.rdb.Exists(ctx, keys...).Result()
	if n > 0 || err != nil {
		return false, err
	}
	for _, l := range looked {
		d.setPaused(ctx, l, false)
	}
	if len(looked) > 1 {
		d.nothing[in.queue] = time.Now()
	}
	return true, nil
}

// drawn are the priorities in an order in which high is first six times in ten.
func drawn() []jobs.Priority {
	var order []jobs.Priority
	left := weights()
	for len(left) > 0 {
		sum := 0
		for _, w := range left {
			sum += w
		}
		at := mrand.IntN(sum)
		for _, p := range jobs.Priorities() {
			if at -= left[p]; left[p] > 0 && at < 0 {
				order = append(order, p)
				delete(left, p)
				break
			}
		}
	}
	return order
}

// weights is how a worker is shared among the priorities: high is asked first six times
// in ten.
func weights() map[jobs.Priority]int {
	return map[jobs.Priority]int{jobs.PriorityHigh: 6, jobs.PriorityNormal: 3, jobs.PriorityLow: 1}
}

type scriptKind int

const (
	otherScript scriptKind = iota
	dequeueScript
	forwardScript
)

// asynqScript recognises a script call of asynq by its keys, which are part of
// asynq's data format, and returns the asynq queue it is for.
func asynqScript(cmd redis.Cmder) (scriptKind, string) {
	args := cmd.Args() // evalsha sha numkeys key...
	if name := cmd.Name(); (name != "evalsha" && name != "eval") || len(args) < 5 {
		return otherScript, ""
	}
	first, _ := args[3].(string)
	second, _ := args[4].(string)
	queue, _, _ := strings.Cut(strings.TrimPrefix(first, "asynq:{"), "}")
	switch n, _ := args[2].(int); {
	case n == 4 && len(args) == 9 && strings.HasSuffix(first, "}:pending") && strings.HasSuffix(second, "}:paused"):
		return dequeueScript, queue
	case n == 2 && strings.HasSuffix(second, "}:pending") &&
		(strings.HasSuffix(first, "}:scheduled") || strings.HasSuffix(first, "}:retry")):
		return forwardScript, queue
	}
	return otherScript, ""
}
