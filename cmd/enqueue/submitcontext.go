package main

import (
	"context"
	"errors"
	"slices"

	"github.com/moby/buildkit/util/progress/progressui"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// storeContext packs or reads the context and makes sure that the store has it.
func (s *submission) storeContext(ctx context.Context) error {
	if s.source.kind == noSource || s.source.kind == fromRef {
		return nil
	}
	store := artifacts.NewBlobs(fullStore{}, "")
	if !s.options.DryRun {
		// First things first: packing for a farm that is not there is work for nothing.
		if _, err := s.service(ctx); err != nil {
			return err
		}
		var err error
		if store, err = s.artifacts(ctx); err != nil {
			return err
		}
	}
	var limits contexts.Limits
	if s.options.NoLimits {
		limits = contexts.NoLimits()
	}
	cache, err := s.cacheDir(s.options.CacheDir, s.options.NoCacheDir)
	if err != nil {
		return err
	}
	progress := s.contextProgress(!s.options.Quiet && s.mode == progressui.TtyMode)
	up, err := s.source.upload(ctx, store, s.stdin, progress.options(pack.UploadOptions{Limits: limits, CacheDir: cache, Pack: pack.Options{
		Dockerfile: s.spec.Build.Dockerfile, Inline: s.inline, Beside: s.beside, Modes: pack.Modes(s.options.Modes), KeepGit: s.options.KeepGit,
		Check: s.checkDockerfile,
	}}))
	progress.clear()
	if err != nil {
		return pastLimit(err)
	}
	s.spec.Context = &up.Context
	if up.Report.Dockerfile.Name != "" {
		s.spec.Build.Dockerfile = up.Report.Dockerfile.Name
	}
	s.spec.Build.HideDockerfile = s.spec.Build.HideDockerfile || up.Report.Hidden
	if !s.options.DryRun {
		s.say("%s", describeUpload(up))
	}
	for _, w := range up.Warnings {
		s.say("warning: %s", oneLine(w))
	}
	return nil
}

// checkDockerfile refuses what no engine could build, and warns of what workers
// refuse unless their policy allows it.
func (s *submission) checkDockerfile(d dockerfile.File) error {
	s.checked = d
	if err := dockerfile.Parse(d); err != nil {
		return err
	}
	_, err := dockerfile.Check(d, *s.spec.Build, dockerfile.Defaults())
	f, ok := errors.AsType[*jobs.Failure](err)
	if ok && f.Kind == jobs.KindDockerfileInvalid { // such as a target that it does not have
		return err
	}
	if ok {
		s.say("warning: workers refuse this unless their policy allows it: %s (%s)", oneLine(f.Message), f.Kind)
	}
	return nil
}

// pastLimit adds to a refusal for a limit what to do when the operator raised it.
func pastLimit(err error) error {
	f, ok := errors.AsType[*jobs.Failure](err)
	if !ok || !slices.Contains([]jobs.Kind{
		jobs.KindContextTooLarge, jobs.KindContextRatio, jobs.KindTooManyEntries, jobs.KindTooDeep, jobs.KindNameTooLong,
	}, f.Kind) {
		return err
	}
	said := *f
	said.Hint += "; where the workers' policy allows more, submit with --no-limits"
	return &said
}
