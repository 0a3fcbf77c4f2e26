package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// build fetches the context and streams it into the engine.
func (a *attempt) build(ctx context.Context) error {
	spec := *a.job.Spec.Build
	if len(spec.Tags) == 0 {
		spec.Tags = []string{jobs.ImageName(a.job.ID, a.job.Attempt)}
	}
	if err := a.note(ctx, jobs.Progress{Stage: jobs.StageFetch}); err != nil {
		return err
	}
	fetch := a.job.Spec.Timeouts.Fetch.Or(a.w.opts.Timeouts.Fetch.D())
	tarball, err := a.openContext(ctx, *a.job.Spec.Context, fetch)
	if err != nil {
		return err
	}
	defer tarball.Close()

	timeout := a.job.Spec.Timeouts.Build.Or(a.w.opts.Timeouts.Build.D())
	err = a.stage(ctx, jobs.StageBuild, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageBuild}); err != nil {
			return err
		}
		ctx, done := a.watchIdle(ctx, jobs.StageBuild)
		defer done()
		built, err := a.w.Engine.Build(ctx, engine.Build{
			Spec: spec, Context: tarball, Labels: a.w.labels(a.job.ID, a.job.Attempt), Secret: a.w.secret,
			Status: func(status []byte) { a.joblog.write(jobs.BuildStatus, status) },
		})
		a.res.ImageID, a.res.Bases = built.ImageID, built.Bases
		if err != nil {
			return explain(ctx, jobs.StageBuild, err)
		}
		a.res.Tags = a.job.Spec.Build.Tags
		return nil
	})
	// The fetch goes on under the build, so both are measured on their own.
	a.res.Times = append([]jobs.StageTime{{Stage: jobs.StageFetch, Millis: tarball.took.Milliseconds()}}, a.res.Times...)
	return err
}

// openContext opens the context under the fetch timeout, which covers the
// transfer to its last byte even while the build is already reading it.
func (a *attempt) openContext(ctx context.Context, c jobs.Context, timeout time.Duration) (*timedReader, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ranOut{stage: jobs.StageFetch, after: timeout})
	started := time.Now()
	r, err := a.w.Fetch(ctx, c)
	if err != nil {
		cancel()
		return nil, explain(ctx, jobs.StageFetch, err)
	}
	return &timedReader{ctx: ctx, r: r, cancel: cancel, started: started}, nil
}

// timedReader ends with the fetch timeout's failure, or with the source's own,
// and measures how long the transfer took. The engine reads it on one goroutine
// and Close comes after that.
type timedReader struct {
	ctx     context.Context //nolint:containedctx // the reader's own bound
	r       io.ReadCloser
	cancel  context.CancelFunc
	started time.Time
	took    time.Duration // until the last byte
	err     error
}

func (t *timedReader) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	if t.ctx.Err() != nil {
		t.err = explain(t.ctx, jobs.StageFetch, t.ctx.Err())
		return 0, t.err
	}
	n, err := t.r.Read(p)
	t.took = time.Since(t.started)
	if err != nil && !errors.Is(err, io.EOF) {
		err = explain(t.ctx, jobs.StageFetch, err)
	}
	t.err = err
	return n, err
}

func (t *timedReader) Close() error {
	t.cancel()
	return t.r.Close()
}

// secret reads a secret of the worker. Names are validated with the document,
// so they cannot leave the directory.
func (w *Worker) secret(name string) ([]byte, error) {
	missing := func(err error) error {
		return jobs.Fail(jobs.KindSecretNotFound, err, "ask the operator to add it to the worker", "the worker has no secret named %q", name)
	}
	if w.opts.SecretsDir == "" {
		return nil, missing(nil)
	}
	b, err := os.ReadFile(filepath.Join(w.opts.SecretsDir, filepath.Base(name)))
	if err != nil {
		return nil, missing(err)
	}
	return b, nil
}

// push sends every tag to its registry.
func (a *attempt) push(ctx context.Context) error {
	timeout := a.job.Spec.Timeouts.Push.Or(a.w.opts.Timeouts.Push.D())
	return a.stage(ctx, jobs.StagePush, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StagePush}); err != nil {
			return err
		}
		for _, tag := range a.job.Spec.Build.Tags {
			digest, err := a.w.Engine.Push(ctx, tag, a.joblog.writer(jobs.Note))
			if err != nil {
				return fmt.Errorf("push %s: %w", tag, err)
			}
			a.res.RepoDigests = append(a.res.RepoDigests, digest)
		}
		return nil
	})
}

// watchIdle ends the returned context when the log is silent for too long.
func (a *attempt) watchIdle(ctx context.Context, s jobs.Stage) (context.Context, func()) {
	limit := a.job.Spec.Timeouts.Idle.Or(a.w.opts.Timeouts.Idle.D())
	ctx, cancel := context.WithCancelCause(ctx)
	started := time.Now()
	go func() {
		for {
			silent := time.Since(latest(a.joblog.idleSince(), started))
			if silent >= limit {
				cancel(ranOut{stage: s, after: limit, idle: true})
				return
			}
			if !pause(ctx, limit-silent) {
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
