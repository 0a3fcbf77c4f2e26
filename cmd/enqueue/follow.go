package main

import (
	"context"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/logread"
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
	svc   service
	store func(context.Context) (*artifacts.Blobs, error)
	view  *view
	id    string

	cursor jobs.Cursor
	// log is made by the first use of reader.
	log *logread.Reader
	// whole defers output of the run that the live tail has lost to the end of the job,
	// when the store has all of it, instead of going on behind a gap: a
	// program reads stdout.
	whole bool
	// service goes on after a job has succeeded for as long as the service is up that
	// it keeps.
	service bool
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
			f.reader().Chunk(ctx, c)
		}
		switch {
		case job.Up() && f.service:
			f.reader().Rest(ctx, job) // what is there so far
			f.view.caughtUp()
			ended = false
		case job.State.Terminal() && (quiet || job.Up()): // the log of a service goes on
			f.reader().Rest(ctx, job)
			return job, nil
		case quiet:
			f.view.caughtUp()
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
		f.claimed, f.reader().Whole = true, false
		f.view.note("%s on worker %s", painter{ascii: f.view.paint.ascii}.state(jobs.Running), oneLine(e.Text))
	case jobs.EventStage:
		r := f.reader()
		r.Whole = r.Whole || f.whole && e.Text == string(jobs.StageRun)
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

// reader reads the log for the view.
func (f *follower) reader() *logread.Reader {
	if f.log == nil {
		f.log = &logread.Reader{
			Get:   func(ctx context.Context) (jobs.Job, error) { return f.svc.Get(ctx, f.id) },
			Store: func(ctx context.Context) (*artifacts.Blobs, error) { return f.store(ctx) },
			Sink:  shown{f.view},
		}
	}
	return f.log
}

// shown puts a log on a view.
type shown struct{ *view }

// Attempt implements logread.Sink.
func (s shown) Attempt(n int) {
	s.closeBuild()
	s.note("attempt %d", n)
}

// Frame implements logread.Sink.
func (s shown) Frame(f jobs.Frame, _ logread.Place) { s.frame(f) }

// Gap implements logread.Sink.
func (s shown) Gap(n int64, why error) {
	reason := ""
	if why != nil {
		reason = ": " + oneLine(why.Error())
	}
	if n < 0 {
		s.note("[gap: the rest of this log]%s", reason)
		return
	}
	s.note("[gap: %d bytes]%s", n, reason)
}

// Unreadable implements logread.Sink.
func (s shown) Unreadable(err error) { s.note("[unreadable log: %v]", err) }

// Deferred implements logread.Sink.
func (s shown) Deferred() {
	s.note("a part of the output left the live log before it was read; the rest follows when the job has ended")
}
