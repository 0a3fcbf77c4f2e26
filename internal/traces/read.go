package traces

import (
	"context"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/logread"
)

// build is what BuildKit said in an attempt. It takes the log of that.
type build struct {
	buildlog.Reader
	// gaps is true when a part of the log is missing.
	gaps bool
}

// Attempt implements logread.Sink.
func (b *build) Attempt(int) {}

// Frame implements logread.Sink.
func (b *build) Frame(f jobs.Frame, _ logread.Place) {
	if f.Stream == jobs.BuildStatus {
		b.Lines(f.Data)
	}
}

// Gap implements logread.Sink.
func (b *build) Gap(int64, error) { b.gaps = true }

// Unreadable implements logread.Sink.
func (b *build) Unreadable(error) { b.gaps = true }

// Deferred implements logread.Sink.
func (b *build) Deferred() {}

// read reads the events of a job, and its builds by their attempts. A log that cannot be
// read is one with gaps: the times of the stages are known all the same.
func (e *Exporter) read(ctx context.Context, j jobs.Job) ([]jobs.Event, map[int]*build, error) {
	builds := map[int]*build{}
	reader := func(attempt int) *logread.Reader {
		builds[attempt] = &build{}
		return &logread.Reader{
			Get:   func(context.Context) (jobs.Job, error) { return j, nil },
			Store: func(context.Context) (*artifacts.Blobs, error) { return e.d.Blobs, nil },
			Sink:  builds[attempt],
			At:    logread.Place{Attempt: attempt},
		}
	}
	last := reader(j.Attempt)
	var events []jobs.Event
	for cursor := (jobs.Cursor{}); ; {
		news, err := e.d.Records.Follow(ctx, j.ID, cursor, 0)
		if err != nil {
			return nil, nil, err
		}
		if len(news.Events)+len(news.Log) == 0 {
			break
		}
		cursor = news.Next
		events = append(events, news.Events...)
		for _, c := range news.Log {
			if j.Spec.Build != nil && c.Attempt == j.Attempt {
				last.Chunk(ctx, c)
			}
		}
	}
	if j.Spec.Build == nil {
		return events, nil, nil
	}
	last.Rest(ctx, j)
	for _, past := range j.Past {
		if past.Log.Digest == "" {
			continue
		}
		if err := reader(past.Attempt).FromStore(ctx, past.Log.Digest, -1); err != nil {
			builds[past.Attempt].gaps = true
		}
	}
	return events, builds, ctx.Err()
}
