package queue

import (
	"cmp"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// IntakeOptions tune an Intake.
type IntakeOptions struct {
	// Host is the identity of the worker's host, random when "".
	Host string
	// Queues of the farm to serve.
	Queues []string
	// Slots is how many tickets may be in hand at once.
	Slots int
	// Fallback is how often the queues are looked at for delayed tickets, and
	// for those whose bell was not heard, 4 s when 0.
	Fallback time.Duration
	// Reserve is how long a ticket is passed over that fits only later, 30 s when 0.
	Reserve time.Duration
	// AffinityWait is how long a ticket is left to hosts that are warm for it, 0 for none.
	AffinityWait time.Duration
	Log          *slog.Logger
}

// Intake takes tickets for one worker. Start, then StopTaking, then Close.
type Intake struct {
	rdb  redis.UniversalClient
	srv  *asynq.Server
	look *asynq.Inspector
	log  *slog.Logger
	// tickets pushes those that are handed back.
	tickets *Queue
	disp    *dispatcher
	warmth  warmth
	// handle is set by Start, before asynq's goroutines read it.
	handle jobs.Handler
}

var _ jobs.Intake = (*Intake)(nil)

// NewIntake makes an Intake on a client of its own, which it closes.
func NewIntake(rdb redis.UniversalClient, o IntakeOptions) *Intake {
	o.Host = cmp.Or(o.Host, cryptorand.Text())
	o.Fallback = cmp.Or(o.Fallback, 4*time.Second)
	o.Reserve = cmp.Or(o.Reserve, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	disp := newDispatcher(rdb, o)
	rdb.AddHook(disp)
	in := &Intake{
		rdb: rdb, look: asynq.NewInspectorFromRedisClient(rdb), log: o.Log, tickets: New(rdb), disp: disp,
		warmth: warmth{rdb: rdb, board: disp.board, host: o.Host, queues: o.Queues},
	}
	served := map[string]int{}
	for _, in := range inboxes(o.Queues...) {
		served[in.String()] = weights()[in.priority]
	}
	in.srv = asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: o.Slots,
		Queues:      served,
		// The dispatcher does the waiting.
		TaskCheckInterval: 50 * time.Microsecond,
		// Returned tickets come back soon and spread out; they are cheap.
		RetryDelayFunc: func(n int, _ error, _ *asynq.Task) time.Duration {
			return min(time.Second<<min(n, 5), 30*time.Second) + rand.N(time.Second)
		},
		DelayedTaskCheckInterval: o.Fallback,
		// It removes tasks that are kept after their end; ours are not.
		JanitorInterval: 10 * time.Minute,
		// Handlers have returned before Close, so this is not a wait for jobs.
		ShutdownTimeout: time.Second,
		ErrorHandler:    asynq.ErrorHandlerFunc(in.givenUp),
		Logger:          asynqLog{o.Log},
		LogLevel:        asynq.WarnLevel,
	})
	return in
}

// Start implements jobs.Intake.
func (in *Intake) Start(h jobs.Handler, fits func(jobs.Needs) jobs.Fit) error {
	in.handle = h
	in.disp.start(context.Background(), fits)
	err := in.srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		d, err := in.delivery(ctx, task)
		if err != nil {
			return err
		}
		if err := h(ctx, d); err != nil {
			return in.handBack(ctx, d, err)
		}
		return nil
	}))
	if err != nil {
		return fmt.Errorf("serve the queue: %w", err)
	}
	return nil
}

// handBack deals with a ticket on which the handler failed. asynq would put it aside in
// its lane, where no server looks for tasks that are due; so it goes to the inbox for a
// while. What came from there is asynq's to put aside.
func (in *Intake) handBack(ctx context.Context, d jobs.Delivery, cause error) error {
	from, _ := asynq.GetQueueName(ctx)
	if l := parseLane(from); l == l.inbox() || d.Plain() {
		return cause
	}
	t := d.Ticket
	t.Delay = handBackFor + rand.N(handBackFor)
	if err := in.tickets.Push(context.WithoutCancel(ctx), t); err != nil {
		return errors.Join(cause, err)
	}
	return nil
}

// handBackFor is how long a ticket rests at least that a worker handed back.
const handBackFor = time.Second

// delivery reads a task that asynq hands out.
func (in *Intake) delivery(ctx context.Context, task *asynq.Task) (jobs.Delivery, error) {
	name, _ := asynq.GetTaskID(ctx)
	from, _ := asynq.GetQueueName(ctx)
	d := read(from, name, task.Payload(), task.Headers())
	d.Ticket.Route, _ = in.disp.routes.text(d.Ticket.Queue, parseLane(from).route)
	if !d.Plain() {
		return d, nil
	}
	// The context's deadline may be the producer's, or asynq's own.
	info, err := taskInfo(ctx, in.rdb, in.look, from, name)
	switch {
	case err == nil:
		d.StartBy = startBy(info)
	case !errors.Is(err, asynq.ErrTaskNotFound): // an operator may have deleted it
		return d, fmt.Errorf("look for the options of task %s: %w", name, err)
	}
	return d, nil
}

// givenUp is told of every task that asynq takes back, before it does: because the
// handler failed, because its time is over, or because its deadline had passed before
// a handler was asked. asynq may archive it, so its document has to be recorded
// now.
func (in *Intake) givenUp(ctx context.Context, task *asynq.Task, _ error) {
	ctx = context.WithoutCancel(ctx)
	name, _ := asynq.GetTaskID(ctx)
	defer func() { // asynq itself expects none here
		if p := recover(); p != nil {
			in.log.ErrorContext(ctx, "recording the job of a task that asynq takes back failed", "task", name, "err", p, "stack", string(debug.Stack()))
		}
	}()
	d, err := in.delivery(ctx, task)
	if err == nil && d.Plain() {
		d.GivenUp = true
		err = in.handle(ctx, d)
	}
	if err != nil {
		in.log.WarnContext(ctx, "recording the job of a task that asynq takes back failed", "task", name, "err", err)
	}
}

// Pause implements jobs.Intake.
func (in *Intake) Pause(on bool) {
	in.disp.hold(on)
	if !in.warmth.hold(on) {
		return
	}
	go func() { // Redis may be away, and the caller does not wait for it
		ctx, cancel := context.WithTimeout(context.Background(), bellWait)
		defer cancel()
		if err := in.warmth.say(ctx); err != nil && !in.disp.bell.closed() {
			in.log.WarnContext(ctx, "telling whether builds are left to this host failed", "err", err)
		}
	}()
}

// Recheck implements jobs.Intake.
func (in *Intake) Recheck() { in.disp.bell.recheck(context.Background()) }

// Warm implements jobs.Intake.
func (in *Intake) Warm(ctx context.Context, recipes []string) error {
	return in.warmth.tell(ctx, recipes)
}

// StopTaking implements jobs.Intake.
func (in *Intake) StopTaking() {
	in.disp.bell.close()
	in.warmth.end()
	in.srv.Stop()
}

// Close implements jobs.Intake; it waits a moment for handlers that have not
// returned.
func (in *Intake) Close() error {
	in.StopTaking()
	in.srv.Shutdown()
	err := in.rdb.Close() // ends the listeners' reads, too
	in.disp.bell.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the queue's connection: %w", err)
	}
	return nil
}
