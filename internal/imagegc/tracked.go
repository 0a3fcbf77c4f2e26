package imagegc

import (
	"context"
	"io"
	"log/slog"

	"github.com/slipway-farm/slipway/internal/engine"
)

// Track returns an engine that notes which images it brings to the host, before it
// does: an image that a killed worker pulled is not left there for ever.
func Track(lg *slog.Logger, e engine.Engine, host Host, uses *Uses) engine.Engine {
	return tracked{e, host, uses, lg}
}

type tracked struct {
	engine.Engine
	host Host
	uses *Uses
	log  *slog.Logger
}

// Build implements engine.Engine.
func (t tracked) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	for _, tag := range b.Spec.Tags {
		if err := t.uses.set(use{Name: tag, Job: b.Labels[engine.LabelJob]}); err != nil {
			return engine.Built{}, err
		}
	}
	return t.Engine.Build(ctx, b)
}

// Image implements engine.Engine. An image that was there, and not by the farm's
// doing, gets no entry. The use is noted before the image is looked for, so that it
// is not removed in between.
func (t tracked) Image(ctx context.Context, ref string, progress io.Writer) (string, error) {
	e, known, err := t.uses.touch(ref)
	if err != nil {
		t.log.WarnContext(ctx, "note the use of an image", "err", err)
	}
	facts, err := t.host.ImageFacts(ctx, ref)
	if err != nil {
		return "", err
	}
	if facts.ID != "" {
		if known && e.Job == "" && e.Image == "" { // pulled by a worker that was killed
			err = t.uses.set(use{Name: ref, Image: facts.ID})
		}
		return facts.ID, err
	}
	if err := t.uses.set(use{Name: ref}); err != nil {
		return "", err
	}
	id, err := t.Engine.Image(ctx, ref, progress)
	if err != nil {
		if err := t.uses.drop(ref); err != nil {
			t.log.WarnContext(ctx, "note the use of an image", "err", err)
		}
		return "", err
	}
	return id, t.uses.set(use{Name: ref, Image: id})
}
