package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// build fetches the context, looks at what it asks for, and streams it into the
// engine.
func (a *attempt) build(ctx context.Context) error {
	spec := *a.job.Spec.Build
	if len(spec.Tags) == 0 {
		spec.Tags = []string{jobs.ImageName(a.job.ID, a.job.Attempt)}
	}
	fetched, err := a.fetch(ctx, &spec)
	if err != nil {
		return err
	}
	defer func() {
		if err := fetched.Close(); err != nil {
			a.log.WarnContext(ctx, "close context", "err", err)
		}
	}()
	timeout := a.job.Spec.Timeouts.Build.Or(a.w.opts.Timeouts.Build.D())
	return a.stage(ctx, jobs.StageBuild, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageBuild}); err != nil {
			return err
		}
		ctx, done := a.watchIdle(ctx, jobs.StageBuild)
		defer done()
		tarball, err := fetched.Open(ctx, spec.HideDockerfile)
		if err != nil {
			return explain(ctx, jobs.StageFetch, err)
		}
		defer tarball.Close()
		dockerfile := hidden(&spec, fetched.Dockerfile)
		built, err := a.w.Engine.Build(ctx, engine.Build{
			Spec: spec, Context: tarball, Dockerfile: dockerfile, Labels: a.w.labels(a.job.ID, a.job.Attempt), Secret: a.w.secret,
			Status: func(status []byte) { a.joblog.write(jobs.BuildStatus, status) },
		})
		a.res.ImageID, a.res.Bases = built.ImageID, built.Bases
		if tarball.Err() != nil {
			return explain(ctx, jobs.StageFetch, tarball.Err())
		}
		if err != nil {
			return explain(ctx, jobs.StageBuild, err)
		}
		if err := a.admitBases(ctx, built.Bases, spec.Tags); err != nil {
			return err
		}
		a.res.Tags = a.job.Spec.Build.Tags
		return nil
	})
}

// fetch reads the context to its last byte before the engine sees the first.
// What it says about the Dockerfile goes into spec.
func (a *attempt) fetch(ctx context.Context, spec *jobs.Build) (fetched *artifacts.Fetched, err error) {
	timeout := a.job.Spec.Timeouts.Fetch.Or(a.w.opts.Timeouts.Fetch.D())
	err = a.stage(ctx, jobs.StageFetch, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageFetch}); err != nil {
			return err
		}
		c := *a.job.Spec.Context
		if fetched, err = a.w.Fetch(ctx, c, spec.Dockerfile); err != nil {
			return err
		}
		for _, w := range fetched.Warnings {
			fmt.Fprintln(a.joblog.writer(jobs.Note), "context:", w)
		}
		if c.Digest == "" && c.Ref != artifacts.Ref(fetched.Digest) {
			a.res.Context = fetched.Digest
		}
		spec.Dockerfile = fetched.Dockerfile.Name
		if a.w.Admit == nil {
			return nil
		}
		err := a.w.Admit(artifacts.Dockerfile{Name: shown(*spec), Content: fetched.Dockerfile.Content}, spec)
		return explain(ctx, jobs.StageBuild, err)
	})
	if err != nil && fetched != nil {
		err = errors.Join(err, fetched.Close())
	}
	return fetched, err
}

// shown is the Dockerfile's name for people: one that is hidden in the archive
// has another there.
func shown(spec jobs.Build) string {
	if spec.HideDockerfile {
		return strings.TrimPrefix(spec.Dockerfile, artifacts.HiddenPrefix)
	}
	return spec.Dockerfile
}

// hidden is the Dockerfile for a build whose context does not have it.
func hidden(spec *jobs.Build, d artifacts.Dockerfile) []byte {
	if !spec.HideDockerfile {
		return nil
	}
	spec.Dockerfile = shown(*spec)
	return d.Content
}

// admitBases judges what the build really stood on: triggers in a base image
// may have led to others than the Dockerfile names. Nobody is to use an image
// that is not admitted.
func (a *attempt) admitBases(ctx context.Context, bases []jobs.BaseImage, tags []string) error {
	if a.w.AdmitImages == nil {
		return nil
	}
	refs := make([]string, len(bases))
	for i, b := range bases {
		refs[i] = b.Ref
	}
	err := a.w.AdmitImages(refs...)
	if err == nil {
		return nil
	}
	for _, tag := range tags {
		if err := a.w.Engine.RemoveImage(ctx, tag); err != nil {
			a.log.WarnContext(ctx, "remove an image that is not admitted", "image", tag, "err", err)
		}
	}
	return err
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
