package api

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// feedWait is how long a feed waits for news at one go.
	feedWait = 10 * time.Second
	// feedKept bounds the live log that a feed has in memory, in bytes: a follower whose
	// connection was cut goes on where it was, also when Redis has less by now.
	feedKept = 1 << 20
	// feedLinger is how long a feed stays when nothing follows it any more.
	feedLinger = 30 * time.Second
)

// feeds read the news of jobs from Redis, once for all who follow a job.
type feeds struct {
	svc *jobs.Service
	log *slog.Logger
	// most is how many jobs are followed at the same time.
	most int
	ctx  context.Context //nolint:containedctx // ends with the server
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	open map[string]*feed
}

func newFeeds(svc *jobs.Service, log *slog.Logger, most int) *feeds {
	ctx, end := context.WithCancel(context.Background())
	return &feeds{svc: svc, log: log, most: most, ctx: ctx, end: end, open: map[string]*feed{}}
}

func (fs *feeds) close() {
	fs.end()
	fs.wg.Wait()
}

// feed is what is new of one job.
type feed struct {
	id string
	// token is whose request opened the feed.
	token string

	mu      sync.Mutex
	changed chan struct{} // closed and replaced by every change
	job     jobs.Job
	events  []jobs.Event
	chunks  []jobs.LogChunk
	first   int // chunks that fell off the front
	bytes   int
	// over is set when nothing more comes.
	over bool
	err  error

	// followers and idle are the feeds' own, under its mutex.
	followers int
	idle      time.Time
}

// errClosing ends followers when the server ends.
var errClosing = errors.New("the server ends")

// follow returns the feed of a job, with job as it was just read, and what to call when the
// caller needs it no more.
func (fs *feeds) follow(job jobs.Job, token string) (*feed, func(), error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.ctx.Err() != nil {
		return nil, nil, problem("busy", "%v", errClosing).retry(5 * time.Second)
	}
	f := fs.open[job.ID]
	if f == nil {
		own := 0 // of this token
		for _, f := range fs.open {
			if f.token == token {
				own++
			}
		}
		if len(fs.open) >= fs.most || token != "" && own >= share(fs.most) {
			return nil, nil, problem("busy", "as many jobs are followed as may, in all or by this token").retry(10 * time.Second)
		}
		f = &feed{id: job.ID, token: token, changed: make(chan struct{}), job: job}
		fs.open[job.ID] = f
		fs.wg.Go(func() { fs.run(f) })
	}
	f.followers++
	return f, func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if f.followers--; f.followers == 0 {
			f.idle = time.Now()
		}
	}, nil
}

// forsaken removes the feed when it has had no follower for so long, and reports whether it
// did.
func (fs *feeds) forsaken(f *feed, after time.Duration) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.followers > 0 || time.Since(f.idle) < after {
		return false
	}
	delete(fs.open, f.id)
	return true
}

// run reads news until the job has ended, and then stays while it has followers.
func (fs *feeds) run(f *feed) {
	var cursor jobs.Cursor
	for !f.isOver() {
		if fs.ctx.Err() != nil {
			f.publish(nil, jobs.News{}, false, errClosing)
			return
		}
		if fs.forsaken(f, feedLinger) {
			return
		}
		news, err := fs.svc.Follow(fs.ctx, f.id, cursor, feedWait)
		var job *jobs.Job
		if quiet := len(news.Events)+len(news.Log) == 0; err == nil && (quiet || len(news.Events) > 0) {
			var now jobs.Job
			if now, err = fs.svc.Get(fs.ctx, f.id); err == nil {
				job = &now
			}
		}
		switch {
		case fs.ctx.Err() != nil:
			continue
		case errors.Is(err, jobs.ErrNotFound):
			f.publish(nil, jobs.News{}, true, err)
			continue
		case err != nil:
			fs.log.WarnContext(fs.ctx, "following a job failed; the server tries again", "job_id", f.id, "err", err)
			fs.pause(time.Second)
			continue
		}
		cursor = news.Next
		ended := job != nil && job.State.Terminal() && !job.Up() && len(news.Log) == 0
		f.publish(job, news, ended, nil)
	}
	for !fs.forsaken(f, 0) && fs.ctx.Err() == nil {
		fs.pause(time.Second)
	}
}

func (fs *feeds) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-fs.ctx.Done():
	}
}

func (f *feed) isOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over
}

// publish wakes the followers when there is something for them.
func (f *feed) publish(job *jobs.Job, news jobs.News, over bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if job != nil {
		f.job = *job
	}
	f.events = append(f.events, news.Events...)
	for _, c := range news.Log {
		f.chunks = append(f.chunks, c)
		f.bytes += len(c.Data)
	}
	drop := 0
	for ; f.bytes > feedKept && drop < len(f.chunks)-1; drop++ {
		f.bytes -= len(f.chunks[drop].Data)
	}
	f.chunks, f.first = slices.Clone(f.chunks[drop:]), f.first+drop
	f.over, f.err = f.over || over, err
	close(f.changed)
	f.changed = make(chan struct{})
}

// look is what a follower finds in a feed.
type look struct {
	job    jobs.Job
	events []jobs.Event
	chunks []jobs.LogChunk
	// next is where the follower goes on.
	next place
	over bool
	err  error
	// changed is closed when there is more.
	changed <-chan struct{}
}

// place is which events and chunks a follower has seen.
type place struct{ event, chunk int }

// look returns what came after a place. Chunks that fell off are missing; their offsets tell.
func (f *feed) look(after place) look {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := max(0, after.chunk-f.first)
	return look{
		job: f.job, events: f.events[after.event:], chunks: f.chunks[min(from, len(f.chunks)):],
		next: place{len(f.events), f.first + len(f.chunks)}, over: f.over, err: f.err, changed: f.changed,
	}
}
