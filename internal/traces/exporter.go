// Package traces sends what became of each job that has ended as a trace: the job, its
// times in the queue, its attempts with their stages, and the steps of its builds. Traces
// are made of the record, the events and the log, not of what a worker saw: a crash loses
// none, and one that is sent twice is the same, since the IDs of its spans are made of the
// job's. It speaks OTLP over HTTP.
package traces

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Reader is the reader of the ended jobs whose cursor says of which jobs traces were sent.
const Reader = "traces"

// Uploader sends spans to a collector, and tries again for a while; otlptrace.Client is one.
type Uploader interface {
	UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error
}

// Follower reads the events and the live log of a job; see [jobs.Records].
type Follower interface {
	Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error)
}

// Deps is what an Exporter needs.
type Deps struct {
	Endings jobs.Endings
	Records Follower
	Blobs   *artifacts.Blobs
	Collector
}

// Options tune an Exporter. The zero value works, but for Nonce.
type Options struct {
	// Nonce tells the process from all others.
	Nonce string
	// Every is how often the exporter looks for ended jobs when Wake is not called, 30 s when
	// 0. It looks again after Again when something failed, 10 s when 0.
	Every, Again time.Duration
	// GiveUp is after how long jobs are passed over whose traces the collector does not take,
	// 15 minutes when 0.
	GiveUp time.Duration
}

const (
	// page is how many jobs are sent at once.
	page = 25
	// oldest is how long ago a job may have ended: collectors put older spans where they are
	// not looked for, and who begins to trace does not want what was before.
	oldest = 24 * time.Hour
)

// Exporter sends the traces of jobs that have ended. Each process of a farm that has one
// may send all of them: what keeps two from sending the same is the cursor, most of the time.
type Exporter struct {
	log  *slog.Logger
	d    Deps
	opts Options
	wake chan struct{}
	// failing is since when the page after the cursor at is not taken.
	failing time.Time
	at      int64
}

// New makes an Exporter.
func New(lg *slog.Logger, d Deps, o Options) *Exporter {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	o.Every, o.Again, o.GiveUp = cmp.Or(o.Every, 30*time.Second), cmp.Or(o.Again, 10*time.Second), cmp.Or(o.GiveUp, 15*time.Minute)
	return &Exporter{log: lg, d: d, opts: o, wake: make(chan struct{}, 1)}
}

// Wake has the exporter look soon. It is called where there may be something to do, and costs
// nothing.
func (e *Exporter) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run sends traces until ctx ends.
func (e *Exporter) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, wake := e.opts.Every, e.wake
		if err := e.pass(ctx); err != nil {
			wait, wake = e.opts.Again, nil // more jobs that end are no reason to try sooner
			if ctx.Err() == nil {
				e.log.WarnContext(ctx, "sending traces failed; tried again", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-wake:
		}
	}
}

// pass sends the traces of the jobs that have ended since the last time. While there are
// none it is one question.
func (e *Exporter) pass(ctx context.Context) error {
	unread, err := e.d.Endings.Unread(ctx, Reader)
	if err != nil || len(unread) == 0 {
		return err
	}
	for {
		limit := page
		if !e.failing.IsZero() { // what is refused may be one job's
			limit = 1
		}
		p, err := e.d.Endings.Ended(ctx, Reader, limit)
		if err != nil || len(p.Jobs) == 0 {
			return err
		}
		if p.Missed > 0 && p.From > 0 { // a new farm begins with what is there
			e.log.WarnContext(ctx, "jobs ended faster than their traces were sent", "missed", p.Missed)
		}
		if err := e.send(ctx, p); err != nil {
			return err
		}
		mine, err := e.d.Endings.Acknowledge(ctx, Reader, e.opts.Nonce, p)
		if err != nil || !mine {
			return err // another process sent the page, or Redis has lost what it ends with
		}
	}
}

// send sends the traces of a page. A job whose trace the collector did not take for long is
// passed over: it must not keep the collector from all that comes behind.
func (e *Exporter) send(ctx context.Context, p jobs.EndedPage) error {
	var spans []*tracepb.Span
	for _, ended := range p.Jobs {
		of, err := e.trace(ctx, ended.Job)
		if err != nil {
			return err
		}
		spans = append(spans, of...)
	}
	if len(spans) == 0 {
		return nil
	}
	err := e.d.UploadTraces(ctx, []*tracepb.ResourceSpans{{Resource: e.d.Resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: scope(), Spans: spans}}}})
	switch {
	case err == nil:
		e.failing = time.Time{}
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case e.failing.IsZero() || e.at != p.From:
		e.failing, e.at = time.Now(), p.From
	case len(p.Jobs) == 1 && time.Since(e.failing) > e.opts.GiveUp:
		e.log.WarnContext(ctx, "the collector did not take the trace of a job; it is passed over", "job_id", p.Jobs[0].ID, "err", err)
		e.failing = time.Time{}
		return nil
	}
	return fmt.Errorf("send traces to the collector: %w", err)
}

// trace returns the spans of a job, none for one that has no trace.
func (e *Exporter) trace(ctx context.Context, j *jobs.Job) ([]*tracepb.Span, error) {
	if j == nil || j.Newer || j.Damaged != "" || j.Finished.IsZero() || time.Since(j.Finished) > oldest {
		return nil, nil
	}
	if _, _, sampled := j.Traceparent.IDs(); j.Traceparent != "" && !sampled {
		return nil, nil // the tracing that the caller is part of does not want it
	}
	events, builds, err := e.read(ctx, *j)
	if errors.Is(err, jobs.ErrNotFound) { // it was forgotten meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return spansOf(*j, events, builds), nil
}
