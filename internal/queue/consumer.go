package queue

import (
	"context"
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

// ConsumerOptions tune a Consumer.
type ConsumerOptions struct {
	// Queues of the farm to serve.
	Queues []string
	// Slots is how many tickets may be in hand at once.
	Slots int
	// Fallback is how often the queues are looked at for delayed tickets and
	// for those that came without a bell, 3 s when 0.
	Fallback time.Duration
	Log      *slog.Logger
}

// Consumer takes tickets for one worker. Start, then StopTaking, then Close.
type Consumer struct {
	rdb  redis.UniversalClient
	srv  *asynq.Server
	look *asynq.Inspector
	log  *slog.Logger
	bell *doorbell
	// handle is set by Start, before asynq's goroutines read it.
	handle jobs.Handler
}

var _ jobs.Intake = (*Consumer)(nil)

// NewConsumer makes a Consumer on a client of its own, which it closes.
func NewConsumer(rdb redis.UniversalClient, o ConsumerOptions) *Consumer {
	if o.Fallback == 0 {
		o.Fallback = 3 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	bell := newDoorbell(rdb, o.Log, o.Queues)
	rdb.AddHook(bell)
	c := &Consumer{rdb: rdb, look: asynq.NewInspectorFromRedisClient(rdb), log: o.Log, bell: bell}
	c.srv = asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: o.Slots,
		Queues:      weights(o.Queues),
		// The doorbell does the waiting.
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
		ErrorHandler:    asynq.ErrorHandlerFunc(c.givenUp),
		Logger:          asynqLog{o.Log},
		LogLevel:        asynq.WarnLevel,
	})
	return c
}

// Start implements jobs.Intake.
func (c *Consumer) Start(h jobs.Handler) error {
	c.handle = h
	c.bell.listen()
	err := c.srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		d, err := c.delivery(ctx, task)
		if err != nil {
			return err
		}
		return h(ctx, d)
	}))
	if err != nil {
		return fmt.Errorf("serve the queue: %w", err)
	}
	return nil
}

// delivery reads a task that asynq hands out.
func (c *Consumer) delivery(ctx context.Context, task *asynq.Task) (jobs.Delivery, error) {
	name, _ := asynq.GetTaskID(ctx)
	from, _ := asynq.GetQueueName(ctx)
	d := read(from, name, task.Payload())
	if !d.Plain() {
		return d, nil
	}
	// The context's deadline may be the producer's, or asynq's own.
	info, err := taskInfo(ctx, c.rdb, c.look, from, name)
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
func (c *Consumer) givenUp(ctx context.Context, task *asynq.Task, _ error) {
	ctx = context.WithoutCancel(ctx)
	name, _ := asynq.GetTaskID(ctx)
	defer func() { // asynq itself expects none here
		if p := recover(); p != nil {
			c.log.ErrorContext(ctx, "recording the job of a task that asynq takes back failed", "task", name, "err", p, "stack", string(debug.Stack()))
		}
	}()
	d, err := c.delivery(ctx, task)
	if err == nil && d.Plain() {
		d.GivenUp = true
		err = c.handle(ctx, d)
	}
	if err != nil {
		c.log.WarnContext(ctx, "recording the job of a task that asynq takes back failed", "task", name, "err", err)
	}
}

// Hold implements jobs.Intake.
func (c *Consumer) Hold(on bool) { c.bell.hold(on) }

// GiveWay implements jobs.Intake.
func (c *Consumer) GiveWay() { c.bell.giveWay() }

// StopTaking implements jobs.Intake.
func (c *Consumer) StopTaking() {
	c.bell.close()
	c.srv.Stop()
}

// Close implements jobs.Intake; it waits a moment for handlers that have not
// returned.
func (c *Consumer) Close() error {
	c.StopTaking()
	c.srv.Shutdown()
	err := c.rdb.Close() // ends the listeners' reads, too
	c.bell.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the queue's connection: %w", err)
	}
	return nil
}

// asynqLog sends asynq's own messages to slog.
type asynqLog struct{ lg *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.lg.Debug("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.lg.Info("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.lg.Warn("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.lg.Error("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.lg.Error("asynq", "text", fmt.Sprint(args...)) }
