package imagegc

import (
	"context"
	"io"
	"log/slog"

	"github.com/slipway-farm/slipway/internal/engine"
)

// Track returns an engine that notes which images it brings to the host, before it
// does: an image that a killed worker pulled is not left there for ever. What cannot
// be noted stays until an operator removes it; that is no reason to fail a job.
func Track(lg *slog.Logger, e engine.Engine, host Host, uses *Uses) engine.Engine {
	if lg == nil {
		lg = slog.New(slog.DiscardHandler)
	}
	return tracked{e, host, uses, lg}
}

type tracked struct {
	engine.Engine
	host Host
	uses *Uses
	log  *slog.Logger
}

func (t tracked) note(ctx context.Context, err error) {
	if err != nil {
		t.log.WarnContext(ctx, "note the use of an image", "err", err)
	}
}

// Build implements engine.Engine.
func (t tracked) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	for _, tag := range b.Spec.Tags {
		t.note(ctx, t.uses.set(use{Name: tag, Job: b.Labels[engine.LabelJob]}))
	}
	return t.Engine.Build(ctx, b)
}

// Image implements engine.Engine. An image that was there, and not by the farm's
// doing, gets no entry. The use is noted before the image is looked for, so that it
// is not removed in between.
func (t tracked) Image(ctx context.Context, ref string, progress io.Writer) (string, error) {
	e, known, err := t.uses.touch(ref)
	t.note(ctx, err)
	facts, err := t.host.ImageFacts(ctx, ref)
	if err != nil {
		return "", err
	}
	if facts.ID != "" {
		if known && e.Job == "" && e.Image == "" { // pulled by a worker that was killed
			t.note(ctx, t.uses.set(use{Name: ref, Image: facts.ID}))
		}
		return facts.ID, nil
	}
	t.note(ctx, t.uses.set(use{Name: ref}))
	id, err := t.Engine.Image(ctx, ref, progress)
	if err != nil {
		t.dropIfGone(ctx, ref)
		return "", err
	}
	t.note(ctx, t.uses.set(use{Name: ref, Image: id}))
	return id, nil
}

// RemoveImage implements engine.Engine.
func (t tracked) RemoveImage(ctx context.Context, ref string) error {
	if err := t.Engine.RemoveImage(ctx, ref); err != nil {
		return err
	}
	t.dropIfGone(ctx, ref)
	return nil
}

// dropIfGone forgets a name that nothing has any more. What it does not see is
// forgotten later.
func (t tracked) dropIfGone(ctx context.Context, ref string) {
	if facts, err := t.host.ImageFacts(ctx, ref); err == nil && facts.ID == "" {
		t.note(ctx, t.uses.drop(ref))
	}
}
