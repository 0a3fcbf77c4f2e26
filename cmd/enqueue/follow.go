package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// followWait is how long one Follow may wait for news.
	followWait = 10 * time.Second
	// lossPatience is how long a follower keeps trying when Redis went away
	// under it: the job itself goes on meanwhile.
	lossPatience = time.Minute
	// whyLook is how soon it is looked why no worker takes the job.
	whyLook = 2 * time.Second
	// settle is how long the log must be silent after a build before its display
	// is closed: the log comes later than the event of the next stage.
	settle = 300 * time.Millisecond
)

// follower shows one job from wherever its log is to its end. It keeps its
// place, so that run can be called again after its context ended. It belongs to
// one goroutine at a time.
type follower struct {
	svc   *jobs.Service
	store func(context.Context) (*artifacts.Blobs, error)
	view  *view
	id    string

	cursor jobs.Cursor
	// attempt and seen are the place in the framed log: every byte before seen
	// of this attempt was shown or marked as a gap.
	attempt int
	seen    int64
	// whole defers output that the live tail has lost to the end of the job,
	// when the store has all of it, instead of going on behind a gap: a
	// program reads stdout.
	whole bool
	// service goes on after a job has succeeded for as long as the service is up that
	// it keeps.
	service bool
	// behind is true while output is deferred, runs once the run has begun.
	behind, runs bool
	// claimed is true while a worker has the job, looks how often it was found in its
	// queue since none has.
	claimed bool
	looks   int
	// why tells why the job waits, and told is what the reader was told of that last.
	why  func(context.Context, jobs.Job) jobs.Why
	told jobs.Blocker
}

// run shows the job until it has ended and all its log was shown, and returns
// it. Anything wrong with the log is a note, never an error.
func (f *follower) run(ctx context.Context) (jobs.Job, error) {
	ended, built := false, false
	var lost time.Time
	for {
		wait := followWait
		switch {
		case ended:
			wait = 0
		case built:
			wait = settle
		case !f.claimed && f.looks == 0:
			wait = whyLook
		case !f.claimed && f.looks == 1:
			wait = followWait - whyLook
		}
		news, err := f.svc.Follow(ctx, f.id, f.cursor, wait)
		quiet := len(news.Events) == 0 && len(news.Log) == 0
		var job jobs.Job // zero while there is no need to look
		if err == nil && (quiet || ended) {
			job, err = f.svc.Get(ctx, f.id)
		}
		if err != nil {
			if err = f.again(ctx, err, &lost); err != nil {
				return jobs.Job{}, err
			}
			continue
		}
		lost = time.Time{}
		f.cursor = news.Next
		// Events and log come on two streams without an order between them: what
		// brought the output about reads best before it.
		for _, e := range news.Events {
			ended = ended || e.Type == jobs.EventFinished || e.Type == jobs.EventServiceEnded
			built = built || buildIsOver(e)
			f.event(e)
		}
		for _, c := range news.Log {
			f.chunk(ctx, c)
		}
		switch {
		case job.Up() && f.service:
			f.rest(ctx, job) // what is there so far
			ended = false
		case job.State.Terminal() && (quiet || job.Up()): // the log of a service goes on
			f.rest(ctx, job)
			return job, nil
		case quiet:
			f.waiting(ctx, job)
			if built {
				built = false
				f.view.closeBuild() // it must not go on counting seconds
			}
		}
	}
}

// again decides whether to go on after err: yes while Redis is away for less
// than lossPatience.
func (f *follower) again(ctx context.Context, err error, lost *time.Time) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case jobs.IsUsage(err):
		return err
	case lost.IsZero():
		*lost = time.Now()
		f.view.note("lost the farm's Redis; the job goes on, trying again for %s", jobs.Duration(lossPatience))
	case time.Since(*lost) > lossPatience:
		return err
	}
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiting tells why a job stays in its queue, and each time that it is for another reason.
func (f *follower) waiting(ctx context.Context, job jobs.Job) {
	if job.State != jobs.Queued {
		f.claimed = true
		return
	}
	f.looks++
	why := f.why(ctx, job)
	if why.Blocker == "" || why.Blocker == f.told {
		return
	}
	f.told = why.Blocker
	f.view.note("still queued: %s", oneLine(why.Text))
}

// event shows what the log itself does not tell.
func (f *follower) event(e jobs.Event) {
	switch e.Type {
	case jobs.EventClaimed:
		f.claimed, f.runs = true, false
		f.view.note("● running on worker %s", oneLine(e.Text))
	case jobs.EventStage:
		f.runs = f.runs || e.Text == string(jobs.StageRun)
	case jobs.EventRetry:
		f.unclaimed()
		f.view.note("◌ trying again: %s", oneLine(e.Text))
	case jobs.EventLost:
		f.unclaimed()
		f.view.note("◌ lost, the farm starts another attempt: %s", oneLine(e.Text))
	case jobs.EventReturned:
		f.unclaimed()
		f.view.note("◌ handed back to the queue: %s", oneLine(e.Text))
	case jobs.EventCancel:
		f.view.note("⊘ cancel requested by %s", oneLine(e.Text))
	case jobs.EventServiceEnded:
		f.view.note("■ the service is over: %s", oneLine(e.Text))
	}
}

// unclaimed notes that the job is in its queue again.
func (f *follower) unclaimed() { f.claimed, f.looks = false, 0 }

// buildIsOver reports whether the event is the start of a stage after the build.
func buildIsOver(e jobs.Event) bool {
	s := jobs.Stage(e.Text)
	return e.Type == jobs.EventStage && (s == jobs.StagePush || s == jobs.StageRun || s == jobs.StageCollect)
}

// chunk shows the part of a piece of live log that was not shown yet.
func (f *follower) chunk(ctx context.Context, c jobs.LogChunk) {
	if c.Attempt < f.attempt {
		return
	}
	f.begin(c.Attempt)
	if c.Offset > f.seen && !f.behind {
		f.fill(ctx, c.Offset)
	}
	if f.behind {
		return
	}
	end := c.Offset + int64(len(c.Data))
	if end <= f.seen {
		return
	}
	f.view.frames(unseen(c.Data, f.seen-c.Offset))
	f.seen = end
}

// unseen is data, a run of whole frames, without its first n bytes. A frame that was
// seen in part is whole again: a worker that lost its copy of the log reads it anew
// from the engine, in other pieces.
func unseen(data []byte, n int64) []byte {
	for n > 0 && len(data) >= jobs.FrameHeader {
		size := int64(jobs.FrameHeader) + int64(binary.BigEndian.Uint32(data[jobs.FrameHeader-4:]))
		if size > n || size > int64(len(data)) {
			break
		}
		data, n = data[size:], n-size
	}
	return data
}

// begin moves to an attempt; a later one has a log of its own.
func (f *follower) begin(attempt int) {
	if attempt == f.attempt {
		return
	}
	if f.attempt != 0 {
		f.view.closeBuild()
		if f.behind {
			f.view.note("[gap: the rest of attempt %d]", f.attempt)
		}
		f.view.note("attempt %d", attempt)
	}
	f.attempt, f.seen, f.behind = attempt, 0, false
}

// rest shows what an ended job's log has beyond the live tail.
func (f *follower) rest(ctx context.Context, job jobs.Job) {
	r := job.Result
	if r == nil || r.Log.Digest == "" {
		if f.behind {
			f.view.note("[gap: the rest of the log, which was not stored]")
		}
		return
	}
	f.begin(max(r.Attempt, f.attempt))
	f.behind = false
	if r.Log.Size > f.seen {
		f.fill(ctx, r.Log.Size)
	}
}

// fill shows the bytes up to offset end that the live tail no longer has: from
// the artifact store when the job has ended, else a marker stands for them.
func (f *follower) fill(ctx context.Context, end int64) {
	reason := ""
	job, err := f.svc.Get(ctx, f.id)
	if err == nil && job.Result != nil && job.Result.Attempt == f.attempt && job.Result.Log.Digest != "" && job.Result.Log.Size > f.seen {
		f.seen, err = f.fromStore(ctx, job.Result.Log.Digest, f.seen, end)
		if err != nil {
			reason = ": " + oneLine(err.Error())
		}
	}
	switch {
	case f.seen >= end:
	case f.whole && f.runs && err == nil && job.Result == nil:
		f.behind = true
		f.view.note("the output is faster than the live log; the rest follows when the job has ended")
	default:
		f.view.note("[gap: %d bytes]%s", end-f.seen, reason)
		f.seen = end
	}
}

// fromStore shows the stored log from offset from up to end, -1 for all of it,
// and returns the offset that it came to.
func (f *follower) fromStore(ctx context.Context, digest string, from, end int64) (int64, error) {
	store, err := f.store(ctx)
	if err != nil {
		return from, err
	}
	blob, err := store.Read(ctx, digest)
	if err != nil {
		return from, fmt.Errorf("open the stored log: %w", err)
	}
	defer blob.Close() // only read
	at := int64(0)
	for frames := jobs.NewFrameReader(blob); end < 0 || at < end; {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return max(at, from), fmt.Errorf("read the stored log: %w", err)
		}
		if at += int64(jobs.FrameHeader + len(frame.Data)); at > from {
			f.view.frame(frame)
		}
	}
	return max(at, from), nil
}
