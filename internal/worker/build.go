package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// build fetches the context, looks at what it asks for, streams it into the
// engine, and gives the image the names that the job wants it to have here.
func (a *attempt) build(ctx context.Context) error {
	admitted, fetched, err := a.fetch(ctx, *a.job.Spec.Build)
	if err != nil {
		return err
	}
	defer func() {
		if err := fetched.Close(); err != nil {
			a.log.WarnContext(ctx, "close context failed", "err", err)
		}
	}()
	timeout := a.job.Spec.Timeouts.Build.Or(a.w.opts.Timeouts.Build.D())
	return a.stage(ctx, jobs.StageBuild, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageBuild}); err != nil {
			return err
		}
		images, pinned, err := a.pin(ctx, fetched.Dockerfile, admitted.Build, admitted.Sources)
		if err != nil {
			return err
		}
		built, err := a.once(ctx, a.keyOf(admitted.Build, fetched, pinned, images, admitted), func() (engine.Built, error) {
			return a.buildFrom(ctx, fetched, admitted, images, pinned)
		})
		if err != nil {
			return err
		}
		if a.keyed != nil && !listed(built.Bases, images) {
			a.dropKey(ctx)
		}
		a.res.ImageID, a.res.Bases, a.built = built.ImageID, built.Bases, time.Since(a.began)
		if built.Unbounded {
			fmt.Fprintf(a.joblog.Writer(jobs.Note), "%s has no limits for build steps: they ran without\n", a.w.engine)
		}
		if err := a.admitBases(ctx, built.Bases); err != nil {
			return err
		}
		if err := a.nameImage(ctx); err != nil {
			return err
		}
		a.res.ImageSize = a.w.Images.Size(ctx, a.res.ImageID)
		a.w.warmth.add(a.job.Spec.Name)
		return nil
	})
}

// buildFrom makes the image, under the private name of this attempt.
func (a *attempt) buildFrom(ctx context.Context, fetched *contexts.Fetched, admitted dockerfile.Admitted, images []engine.Image, pinned []byte) (engine.Built, error) {
	spec, sources := admitted.Build, admitted.Sources
	ctx, done := a.watchIdle(ctx, jobs.StageBuild, a.w.cacheLocks.take(a, admitted.CacheSpace, sources.Locks))
	defer a.w.cacheLocks.drop(a)
	defer done()
	ended, err := a.w.builds.begin(ctx, a.w.Engine, a.job.ID, a.job.Attempt)
	if err != nil {
		return engine.Built{}, explain(ctx, jobs.StageBuild, err)
	}
	in, err := open(ctx, fetched, spec)
	if err != nil {
		return engine.Built{}, explain(ctx, jobs.StageFetch, err)
	}
	defer in.Close()
	dockerfile, began := beside(&spec, fetched.Dockerfile, pinned), time.Now()
	if in.tree != nil && dockerfile == nil {
		dockerfile = fetched.Dockerfile.Content
	}
	var clipped atomic.Bool
	defer func() { a.res.Log.Clipped = clipped.Load() }()
	built, err := a.w.Engine.Build(ctx, engine.Build{
		Spec: spec, Name: a.imageName(), Context: in.context, Tree: in.files(), Recipe: admitted.CacheSpace + "\n" + a.job.Spec.Name, Contexts: in.readers(), Dockerfile: dockerfile, Images: images,
		CacheSpace: admitted.CacheSpace, Limits: a.w.buildLimits(spec), Secret: a.secret, SSHKey: a.w.sshKey, Mask: a.covered,
		Status:  func(status []byte) { a.joblog.Write(jobs.BuildStatus, status) },
		Clipped: func() { clipped.Store(true) },
	})
	if err == nil || jobs.AsFailure(err).Kind != jobs.KindDaemonLost {
		ended() // else an image may have been made and not named
	}
	if err == nil {
		a.w.Images.Built(ctx, a.job.Spec.Name, began)
		a.tellSent(in.tree, built.Sent)
	}
	switch {
	case in.Err() != nil:
		return built, explain(ctx, jobs.StageFetch, in.Err())
	case errors.Is(err, engine.ErrSyntax) && sources.Parsed:
		return built, explain(ctx, jobs.StageBuild, a.unsupported(sources.Frontend, err))
	default:
		return built, explain(ctx, jobs.StageBuild, err)
	}
}

// tellSent records what of the context the daemon asked for.
func (a *attempt) tellSent(t *contexts.Tree, sent engine.Sent) {
	if t == nil || !sent.Tree {
		return
	}
	files, bytes := t.Regular()
	a.res.ContextSent = &jobs.ContextSent{Files: sent.Files, OfFiles: files, Bytes: sent.Bytes, OfBytes: bytes}
}

// unsupported is the failure of a Dockerfile that can be parsed, but not by the
// frontend that this engine has.
func (a *attempt) unsupported(frontend string, err error) error {
	f := jobs.AsFailure(err)
	reader := a.w.engine.String()
	if frontend != "" {
		reader = "the frontend " + frontend
	}
	return jobs.Fail(jobs.KindUnsupported, err, `name a newer frontend with "# syntax=docker/dockerfile:1", require a worker with a newer engine, or leave out what it does not know`,
		"%s does not know what the Dockerfile uses: %s", reader, f.Message)
}

// buildLimits are those of the steps of a build.
func (w *Worker) buildLimits(b jobs.Build) jobs.Limits {
	return jobs.Limits{CPUs: cmp.Or(b.Limits.CPUs, w.opts.BuildLimits.CPUs), Memory: cmp.Or(b.Limits.Memory, w.opts.BuildLimits.Memory)}
}

// nameImage gives the image the names of the job. With a push it gets each right
// before the registry does.
func (a *attempt) nameImage(ctx context.Context) error {
	if b := a.job.Spec.Build; !b.Push {
		for _, tag := range b.Tags {
			if err := a.w.Images.Name(ctx, a.naming(tag)); err != nil {
				return err
			}
		}
	}
	a.res.Tags = a.job.Spec.Build.Tags
	return nil
}

func (a *attempt) naming(tag string) engine.Naming {
	return engine.Naming{Image: a.res.ImageID, Name: tag, Job: a.job.ID, Recipe: a.job.Spec.Name}
}

// fetch reads the context to its last byte before the engine sees the first, and
// holds the build to the operator's policy.
func (a *attempt) fetch(ctx context.Context, spec jobs.Build) (admitted dockerfile.Admitted, fetched *contexts.Fetched, err error) {
	timeout := a.job.Spec.Timeouts.Fetch.Or(a.w.opts.Timeouts.Fetch.D())
	err = a.stage(ctx, jobs.StageFetch, timeout, func(ctx context.Context) error {
		if err := a.note(ctx, jobs.Progress{Stage: jobs.StageFetch}); err != nil {
			return err
		}
		c := *a.job.Spec.Context
		if fetched, err = a.w.Admission.Context(ctx, c, spec.Dockerfile); err != nil {
			return err
		}
		for _, w := range fetched.Warnings {
			fmt.Fprintln(a.joblog.Writer(jobs.Note), "context:", w)
		}
		if c.Digest == "" && c.Ref != artifacts.Ref(fetched.Digest) {
			a.res.Context = fetched.Digest
		}
		spec.Dockerfile = fetched.Dockerfile.Name
		admitted, err = a.w.Admission.Build(ctx, a.job.Spec, spec, dockerfile.File{Name: shown(spec), Content: fetched.Dockerfile.Content})
		if err != nil {
			return explain(ctx, jobs.StageBuild, err)
		}
		return a.checkNamed(ctx, fetched, admitted.Build)
	})
	if err != nil && fetched != nil {
		err = errors.Join(err, fetched.Close())
	}
	return admitted, fetched, err
}

// shown is the Dockerfile's name for people: one that is hidden in the archive
// has another there.
func shown(spec jobs.Build) string {
	if spec.HideDockerfile {
		return strings.TrimPrefix(spec.Dockerfile, contexts.HiddenPrefix)
	}
	return spec.Dockerfile
}

// beside is the Dockerfile for a build that is not to use the one in its context: it has
// pins, or the context has none.
func beside(spec *jobs.Build, d dockerfile.File, pinned []byte) []byte {
	if !spec.HideDockerfile && pinned == nil {
		return nil
	}
	spec.Dockerfile = shown(*spec)
	if pinned != nil {
		return pinned
	}
	return d.Content
}

// admitBases judges what the build really stood on: triggers in a base image may
// have led to others than the Dockerfile names. An image that is not admitted gets
// no name but its private one, with which it goes.
func (a *attempt) admitBases(ctx context.Context, bases []jobs.BaseImage) error {
	refs := make([]string, len(bases))
	for i, b := range bases {
		refs[i] = b.Ref
	}
	return a.w.Admission.Images(ctx, refs...)
}

// watchIdle ends the returned context when the log is silent for too long. Silence
// counts from the moment that waited tells; it may be nil.
func (a *attempt) watchIdle(ctx context.Context, s jobs.Stage, waited func(limit time.Duration) time.Time) (context.Context, func()) {
	limit := a.job.Spec.Timeouts.Idle.Or(a.w.opts.Timeouts.Idle.D())
	ctx, cancel := context.WithCancelCause(ctx)
	started := time.Now()
	go func() {
		for {
			silent := time.Since(latest(a.joblog.IdleSince(), started))
			if silent >= limit && waited != nil {
				started = latest(started, waited(limit))
				silent = time.Since(latest(a.joblog.IdleSince(), started))
			}
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
