package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// keyVersion changes when builds of this version must not take images of those before.
const keyVersion = 1

// keyOf is the key of a build, "" for one that has none: something goes into it that is
// known only to the host that builds, or when it is over.
func (a *attempt) keyOf(b jobs.Build, fetched *contexts.Fetched, text []byte, images []engine.Image, admitted dockerfile.Admitted) string {
	sources := admitted.Sources
	known := sources.Parsed && !sources.Remote && !b.NoCache && len(b.Secrets)+len(b.SSH) == 0
	for _, img := range images {
		known = known && (img.Pin != "" || strings.Contains(img.Ref, "@"))
	}
	if _, other := b.Args["BUILDKIT_SYNTAX"]; a.w.Builds == nil || !known || other {
		return ""
	}
	if text == nil {
		text = fetched.Dockerfile.Content
	}
	// What changes nothing in the image does not count. A Dockerfile that is hidden is not in
	// the image.
	b.Tags, b.Push, b.Pull, b.Limits = nil, false, false, jobs.BuildLimits{}
	raw, err := json.Marshal(struct {
		Version                           int
		Salt, Context, Dir, Space, Engine string
		Dockerfile                        []byte
		Build                             jobs.Build
	}{
		keyVersion, a.w.opts.BuildSalt, fetched.Digest, a.job.Spec.Context.Dir, admitted.CacheSpace,
		a.w.engine.String() + " " + a.w.engine.Platform, text, b,
	})
	if err != nil {
		return "" // it cannot be
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// keyed is a build that the farm knows by its key.
type keyed struct {
	key     string
	build   jobs.KeyedBuild
	release context.CancelFunc // ends holding the key
}

// samePoll is how often an attempt looks whether a build that it waits for is over.
const samePoll = time.Second

// once builds, unless another attempt has built the same, or is about to. It waits for that
// one a quarter of the build's time at most: what another host does must not fail this job.
func (a *attempt) once(ctx context.Context, key string, build func() (engine.Built, error)) (engine.Built, error) {
	if key == "" {
		return build()
	}
	mine := jobs.KeyedBuild{By: jobs.BuiltBy{
		Job: a.job.ID, Attempt: a.job.Attempt, Host: a.w.opts.HostID, Engine: a.w.engine.String(), Began: a.job.Claimed,
	}, Repositories: repositories(a.job.Spec.Build)}
	until := time.Now().Add(a.job.Spec.Timeouts.Build.Or(a.w.opts.Timeouts.Build.D()) / 4)
	for told := false; ; told = true {
		has, err := a.w.Builds.BeginBuild(ctx, key, mine)
		switch {
		case err != nil:
			a.log.WarnContext(ctx, "asking for builds of the same failed", "err", err)
			return build()
		case has.Done():
			if built, ok := a.takeOver(ctx, has, mine); ok {
				return built, nil
			}
			a.keyed = &keyed{key, mine, func() {}} // those who cannot take it either may take this one
			return build()
		case has.By.Job == mine.By.Job && has.By.Attempt == mine.By.Attempt:
			a.hold(key, mine)
			if f := has.Failed; f != nil && a.job.Spec.Cause != nil && a.job.Spec.Cause.Auto {
				a.dropKey(ctx)
				return engine.Built{}, jobs.Fail(f.Kind, nil, "correct what goes into the build, or have it built by enqueue rebuild retry",
					"the same build has failed before, in job %s: %s", f.Job, f.Message)
			}
			return build()
		case !a.reaches(has, mine) || time.Now().After(until):
			return build()
		}
		if !told {
			fmt.Fprintf(a.joblog.Writer(jobs.Note), "waiting for job %s, which builds the same\n", has.By.Job)
		}
		if !pause(ctx, samePoll) {
			return engine.Built{}, explain(ctx, jobs.StageBuild, ctx.Err())
		}
	}
}

// repositories are those that a build pushes to, by their full names.
func repositories(b *jobs.Build) (all []string) {
	for _, tag := range b.Tags {
		if repo := imagename.Repository(imagename.Full(tag)); b.Push && !slices.Contains(all, repo) {
			all = append(all, repo)
		}
	}
	return all
}

// reaches reports whether the image of another build can come to this host: it is made here,
// or goes to a repository that this job may use, too.
func (a *attempt) reaches(has, mine jobs.KeyedBuild) bool {
	return has.By.Host == mine.By.Host || slices.ContainsFunc(has.Repositories, func(r string) bool { return slices.Contains(mine.Repositories, r) })
}

// hold keeps the key until the attempt gives it up.
func (a *attempt) hold(key string, mine jobs.KeyedBuild) {
	ctx, release := context.WithCancel(a.ctx)
	a.keyed = &keyed{key, mine, release}
	go func() {
		for pause(ctx, jobs.BuildHold/3) {
			if held, err := a.w.Builds.HoldBuild(ctx, key, mine); err == nil && !held {
				return // lost with Redis, or another's: both builds go on
			}
		}
	}()
}

// takeOver has the image of another build for that of this one, if it is still where it was.
func (a *attempt) takeOver(ctx context.Context, has, mine jobs.KeyedBuild) (engine.Built, bool) {
	id := has.ImageID
	if has.By.Host != mine.By.Host {
		i := slices.IndexFunc(has.RepoDigests, func(r string) bool {
			name, _, _ := strings.Cut(r, "@")
			return slices.Contains(mine.Repositories, imagename.Repository(name))
		})
		if i < 0 {
			return engine.Built{}, false
		}
		var err error
		if id, err = a.w.Images.Use(ctx, has.RepoDigests[i], a.joblog.Writer(jobs.Note)); err != nil {
			a.log.InfoContext(ctx, "the image of another build is gone", "image", has.RepoDigests[i], "err", err)
			return engine.Built{}, false
		}
	}
	if err := a.w.Engine.Tag(ctx, id, a.imageName()); err != nil {
		return engine.Built{}, false
	}
	fmt.Fprintf(a.joblog.Writer(jobs.Note), "job %s has built the same: its image is taken\n", has.By.Job)
	a.res.BuiltBy = &has.By
	return engine.Built{ImageID: id, Bases: has.Bases}, true
}

// endKey tells what came of the build; err is why there is no image. Others may take the image
// once it is built, and wherever it was to be pushed.
func (a *attempt) endKey(ctx context.Context, err error) {
	if a.keyed == nil {
		return
	}
	var f *jobs.Failure
	switch b := &a.keyed.build; {
	case err == nil:
		b.By.Ended = a.job.Claimed.Add(a.built)
		b.ImageID, b.RepoDigests, b.Bases = a.res.ImageID, a.res.RepoDigests, a.res.Bases
	case errors.As(err, &f) && f.Kind == jobs.KindBuildFailed:
		b.Failed = &jobs.FailedBuild{Job: b.By.Job, Kind: f.Kind, Message: f.Message}
	}
	a.dropKey(ctx)
}

// endTime bounds what is said of a build that is over.
const endTime = 5 * time.Second

// dropKey gives the key up, with what is known of the build.
func (a *attempt) dropKey(ctx context.Context) {
	a.keyed.release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if err := a.w.Builds.EndBuild(ctx, a.keyed.key, a.keyed.build); err != nil {
		a.log.WarnContext(ctx, "keeping what came of the build failed", "err", err)
	}
	a.keyed = nil
}

// listed reports whether a build used no other images than were known before: triggers of a
// base may have led to more, which no key stands for.
func listed(bases []jobs.BaseImage, images []engine.Image) bool {
	return !slices.ContainsFunc(bases, func(b jobs.BaseImage) bool {
		return !slices.ContainsFunc(images, func(img engine.Image) bool { return imagename.Full(img.Ref) == imagename.Full(b.Ref) })
	})
}
