package queue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// knowsPauses reports whether asynq's pauses were asked for a moment ago.
func (d *dispatcher) knowsPauses() bool {
	d.pausing.Lock()
	defer d.pausing.Unlock()
	return time.Since(d.asked) < pausesFor
}

// askPauses asks which parts of the queues asynq's tools have paused.
func (d *dispatcher) askPauses(ctx context.Context) error {
	pipe := d.rdb.Pipeline()
	asked := map[lane]*redis.IntCmd{}
	for _, in := range inboxes(d.queues...) {
		asked[in] = pipe.Exists(ctx, pausedKey(in.String()))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("ask whether queues are paused: %w", err)
	}
	for in, is := range asked {
		d.setPaused(ctx, in, is.Val() > 0)
	}
	d.pausing.Lock()
	defer d.pausing.Unlock()
	d.asked = time.Now()
	return nil
}

// unpaused lists the priorities of a queue that asynq's tools have not paused, in the
// order in which they are asked this time.
func (d *dispatcher) unpaused(queue string) []jobs.Priority {
	d.pausing.Lock()
	defer d.pausing.Unlock()
	return slices.DeleteFunc(drawn(), func(p jobs.Priority) bool { return d.paused[inbox(queue, p).String()] })
}

// forgetPauses has the next dequeue ask for asynq's pauses.
func (d *dispatcher) forgetPauses() {
	d.pausing.Lock()
	defer d.pausing.Unlock()
	d.asked = time.Time{}
}

// setPaused notes whether asynq's tools have paused a part of a queue, and logs when that
// changes. It asks since when only if it is news.
func (d *dispatcher) setPaused(ctx context.Context, in lane, now bool) {
	name := in.String()
	d.pausing.Lock()
	was := d.paused[name]
	d.paused[name] = now
	d.pausing.Unlock()
	switch {
	case now && !was:
		lg := d.log.With("queue", name)
		if text, err := d.rdb.Get(ctx, pausedKey(name)).Result(); err == nil {
			if since := pauseBegan(text); !since.IsZero() {
				lg = lg.With("since", since)
			}
		}
		lg.WarnContext(ctx, "queue paused in asynq: no jobs are taken from it until it is resumed")
	case was && !now:
		d.log.InfoContext(ctx, "queue resumed in asynq", "queue", name)
		d.bell.heard()
	}
}
