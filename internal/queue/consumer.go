package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	bell *doorbell
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
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
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
		Logger:          asynqLog{o.Log},
		LogLevel:        asynq.WarnLevel,
	})
	return &Consumer{rdb: rdb, srv: srv, bell: bell}
}

// Start implements jobs.Intake.
func (c *Consumer) Start(h jobs.Handler) error {
	c.bell.listen()
	err := c.srv.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		env, err := jobs.DecodeEnvelope(task.Payload())
		if !jobs.IsID(env.ID) {
			// Nobody to report to: asynq keeps it in its archive with the reason.
			err = errors.Join(err, fmt.Errorf("the id %.100q is not lower-case letters, digits and -, at most 64", env.ID))
			return fmt.Errorf("read ticket: %w: %w", err, asynq.SkipRetry)
		}
		name, _ := asynq.GetTaskID(ctx)
		d := jobs.Delivery{Ticket: jobs.Ticket{ID: env.ID}, Spec: env.Spec, Invalid: err}
		d.Ticket.Attempt, d.Ticket.Seq = parseTaskID(env.ID, name)
		from, _ := asynq.GetQueueName(ctx)
		d.Ticket.Queue, d.Ticket.Priority = parseAsynqName(from)
		return h(ctx, d)
	}))
	if err != nil {
		return fmt.Errorf("serve the queue: %w", err)
	}
	return nil
}

// Hold implements jobs.Intake.
func (c *Consumer) Hold(on bool) { c.bell.hold(on) }

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
