package queue

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// doorbell lets asynq's polling loops sleep until there is something to do. It
// is a go-redis hook on the consumer's own client with a say in two of them:
//
// After a dequeue pass in which every queue was empty it holds the next answer
// back until the bell rings or the consumer stops. asynq dequeues on a single
// goroutine, so at most one call waits here.
//
//	asynq: dequeue a, b, c -> empty -> hook waits -> "empty" -> dequeue again
//
// And it answers the forwarder, which looks for delayed tasks every so often,
// with "none" when a queue has neither those nor waiting ones: one round trip
// takes the place of two scripts. When some wait, the bell rings here, so this is
// also how tasks are found whose producer rings no bell, and how a worker learns
// that an operator has paused the queue.
type doorbell struct {
	rdb      redis.UniversalClient
	log      *slog.Logger
	queues   []string
	passSize int // asynq queues in one pass

	ring chan struct{} // a listener heard a bell
	stop chan struct{} // closed to let asynq go
	// arm wakes the listeners, one channel per queue of the farm.
	arm  []chan struct{}
	once sync.Once
	wg   sync.WaitGroup

	waiting atomic.Bool
	// passedOn is when this worker last passed a ticket on, in Unix nanoseconds.
	passedOn atomic.Int64
	// held is closed when tickets may be taken again, nil while they may.
	holding sync.Mutex // guards held
	held    chan struct{}
	// empties counts empty answers in a row. Only asynq's dequeue goroutine
	// touches it.
	empties int
	// empty is the asynq queue that was last found empty, paused those that an
	// operator has paused. Only asynq's forwarder touches them.
	empty  string
	paused map[string]bool
}

func newDoorbell(rdb redis.UniversalClient, log *slog.Logger, queues []string) *doorbell {
	d := &doorbell{
		rdb: rdb, log: log, queues: queues, passSize: len(weights(queues)),
		ring: make(chan struct{}, 1), stop: make(chan struct{}), paused: map[string]bool{},
	}
	for range queues {
		d.arm = append(d.arm, make(chan struct{}, 1))
	}
	return d
}

// listen starts a listener per queue. They wait on keys of different hash
// slots, so one command cannot serve them all on a cluster.
func (d *doorbell) listen() {
	for i, queue := range d.queues {
		d.wg.Go(func() {
			for {
				select {
				case <-d.stop:
					return
				case <-d.arm[i]:
					d.await(queue)
				}
			}
		})
	}
}

// await blocks on one bell while the dequeue waits.
func (d *doorbell) await(queue string) {
	for d.waiting.Load() {
		err := d.rdb.BLPop(context.Background(), bellWait, bellKey(queue)).Err()
		switch {
		case err == nil && d.waiting.Load():
			if d.othersFirst(queue) {
				continue
			}
			d.heard()
			return
		case err == nil:
			// This worker got busy meanwhile: the bell is for another worker.
			d.ringOn(queue)
			return
		case !errors.Is(err, redis.Nil):
			// Redis is away; the forwarder finds out when it is back.
			select {
			case <-d.stop:
			case <-time.After(time.Second):
			}
			return
		}
	}
}

// ringOn passes a bell on to the worker that has waited longest.
func (d *doorbell) ringOn(queue string) {
	if err := d.rdb.RPush(context.Background(), bellKey(queue), 1).Err(); err != nil {
		d.log.Warn("passing the bell on failed", "queue", queue, "err", err)
	}
}

// othersFirst passes a bell on while this worker gives way, and reports whether another
// one heard it. The worker that passed a ticket on would be the one to meet it again,
// round after round, when nothing but the moment of its looks decided, and a job that
// only another worker may run would never get there.
func (d *doorbell) othersFirst(queue string) bool {
	if !d.givesWay() {
		return false
	}
	d.ringOn(queue)
	select {
	case <-d.stop:
		return true
	case <-time.After(headStart):
	}
	if !d.waiting.Load() { // it got busy: the bell is for them in any case
		return true
	}
	return errors.Is(d.rdb.LPop(context.Background(), bellKey(queue)).Err(), redis.Nil)
}

// giveWay gives the other workers a head start for a while.
func (d *doorbell) giveWay() { d.passedOn.Store(time.Now().UnixNano()) }

func (d *doorbell) givesWay() bool { return time.Since(time.Unix(0, d.passedOn.Load())) < giveWayFor }

// found wakes a worker for tickets whose bell no worker heard: this one, unless it gives
// way.
func (d *doorbell) found(asynqQueue string) {
	if !d.givesWay() {
		d.heard()
		return
	}
	queue, _ := parseAsynqName(asynqQueue)
	d.ringOn(queue)
}

// heard lets a waiting dequeue go.
func (d *doorbell) heard() {
	select {
	case d.ring <- struct{}{}:
	default:
	}
}

const (
	// bellWait bounds one BLPOP, and so how long a listener outlives its
	// consumer.
	bellWait = 5 * time.Second
	// longestWait is for the day on which asynq's forwarder is another one.
	longestWait = 30 * time.Second
	// giveWayFor is how long a worker gives way after it passed a ticket on: until the
	// ticket has been at a dozen other workers that may not take it either.
	giveWayFor = time.Minute
	// headStart is what the others get then.
	headStart = 250 * time.Millisecond
)

// wait holds asynq's dequeue until there may be something to take.
func (d *doorbell) wait() {
	d.waiting.Store(true)
	defer d.waiting.Store(false)
	for _, arm := range d.arm {
		select {
		case arm <- struct{}{}:
		default:
		}
	}
	t := time.NewTimer(longestWait)
	defer t.Stop()
	select {
	case <-d.ring:
	case <-t.C:
	case <-d.stop:
	}
}

// hold keeps asynq from dequeuing while it is on.
func (d *doorbell) hold(on bool) {
	d.holding.Lock()
	defer d.holding.Unlock()
	switch {
	case on && d.held == nil:
		d.held = make(chan struct{})
	case !on && d.held != nil:
		close(d.held)
		d.held = nil
	}
}

// awaitRelease returns when nothing holds the dequeue, or the consumer stops:
// one ticket more does no harm then, it comes back.
func (d *doorbell) awaitRelease() {
	d.holding.Lock()
	held := d.held
	d.holding.Unlock()
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-d.stop:
	}
}

// close lets a waiting dequeue go at once.
func (d *doorbell) close() { d.once.Do(func() { close(d.stop) }) }

// DialHook implements redis.Hook.
func (d *doorbell) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessPipelineHook implements redis.Hook.
func (d *doorbell) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook: it watches for asynq's dequeue and forward
// scripts, which are told apart by their keys.
func (d *doorbell) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		script, queue := asynqScript(cmd)
		if script == forwardScript && d.nothingIn(ctx, queue, cmd) {
			return nil
		}
		if script == dequeueScript {
			d.awaitRelease()
		}
		err := next(ctx, cmd)
		switch script {
		case dequeueScript:
			if !errors.Is(err, redis.Nil) {
				d.empties = 0
				break
			}
			if d.empties++; d.empties >= d.passSize {
				d.empties = 0
				d.wait()
			}
		case forwardScript:
			// asynq moved delayed tasks to the pending list without a bell.
			if c, ok := cmd.(*redis.Cmd); ok && err == nil {
				if n, _ := c.Int(); n > 0 {
					d.moved(ctx, queue, n)
				}
			}
		}
		return err
	}
}

// nothingIn answers a forward script with 0 when there is nothing to forward. It
// asks Redis at the first of the two scripts that asynq runs for a queue.
func (d *doorbell) nothingIn(ctx context.Context, queue string, cmd redis.Cmder) bool {
	c, ok := cmd.(*redis.Cmd)
	if !ok {
		return false
	}
	set, _ := c.Args()[3].(string)
	if strings.HasSuffix(set, ":scheduled") {
		d.empty = ""
		has, err := d.look(ctx, strings.TrimSuffix(set, "scheduled"))
		if err != nil {
			return false // asynq reports it
		}
		// Delayed tickets ring when they are due, see moved.
		if !d.isPaused(ctx, queue, has.paused) && has.pending && d.waiting.Load() {
			d.found(queue)
		}
		if !has.pending && !has.delayed {
			d.empty = queue
		}
	}
	if d.empty != queue {
		return false
	}
	c.SetVal(int64(0))
	return true
}

// contents is what there is of a queue.
type contents struct{ delayed, pending, paused bool }

// look asks what there is of the queue whose keys begin with prefix: of one that has
// nothing with one command, since that is what idle workers do all day.
func (d *doorbell) look(ctx context.Context, prefix string) (contents, error) {
	n, err := d.rdb.Exists(ctx, prefix+"scheduled", prefix+"retry", prefix+"pending", prefix+"paused").Result()
	if n == 0 || err != nil {
		return contents{}, err
	}
	pipe := d.rdb.Pipeline()
	delayed := pipe.Exists(ctx, prefix+"scheduled", prefix+"retry")
	pending := pipe.Exists(ctx, prefix+"pending")
	paused := pipe.Exists(ctx, prefix+"paused")
	_, err = pipe.Exec(ctx)
	return contents{delayed.Val() > 0, pending.Val() > 0, paused.Val() > 0}, err
}

// isPaused reports whether a queue is paused, and logs when that changes. It asks
// since when only if it seems to be.
func (d *doorbell) isPaused(ctx context.Context, queue string, maybe bool) bool {
	was := d.paused[queue]
	if !maybe && !was {
		return false
	}
	text, err := d.rdb.Get(ctx, pausedKey(queue)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return was
	}
	now := err == nil
	d.paused[queue] = now
	switch {
	case now && !was:
		lg := d.log.With("queue", queue)
		if since := pauseBegan(text); !since.IsZero() {
			lg = lg.With("since", since)
		}
		lg.WarnContext(ctx, "queue paused in asynq: no jobs are taken from it until it is resumed")
	case was && !now:
		d.log.InfoContext(ctx, "queue resumed in asynq", "queue", queue)
	}
	return now
}

func (d *doorbell) moved(ctx context.Context, asynqQueue string, n int) {
	queue, _ := parseAsynqName(asynqQueue)
	pipe := d.rdb.Pipeline()
	ringBell(ctx, pipe, queue, n)
	if _, err := pipe.Exec(ctx); err != nil {
		d.log.WarnContext(ctx, "ringing the bell for delayed tickets failed", "queue", queue, "err", err)
	}
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
	case n == 4 && strings.HasSuffix(first, "}:pending") && strings.HasSuffix(second, "}:paused"):
		return dequeueScript, queue
	case n == 2 && strings.HasSuffix(second, "}:pending") &&
		(strings.HasSuffix(first, "}:scheduled") || strings.HasSuffix(first, "}:retry")):
		return forwardScript, queue
	}
	return otherScript, ""
}
