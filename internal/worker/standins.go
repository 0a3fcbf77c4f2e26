package worker

import (
	"context"
	"io"
	"time"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// anyName is an Images without rules.
type anyName struct{ engine.Engine }

func (i anyName) Use(ctx context.Context, ref string, progress io.Writer) (string, error) {
	return i.Image(ctx, ref, progress)
}

func (anyName) Refresh(context.Context, []string, string, io.Writer) error { return nil }

func (i anyName) Name(ctx context.Context, n engine.Naming) error {
	return i.Tag(ctx, n.Image, n.Name)
}

func (i anyName) Release(ctx context.Context, name string) error { return i.RemoveImage(ctx, name) }

func (anyName) Tidy(context.Context) error { return nil }

func (anyName) Built(context.Context, string, time.Time) {}

func (anyName) Size(context.Context, string) int64 { return 0 }

func (anyName) Recipes(context.Context) ([]string, error) { return nil, nil }

func (i anyName) Push(ctx context.Context, n engine.Naming, progress io.Writer) (string, error) {
	return i.Engine.Push(ctx, n.Image, n.Name, progress)
}

// asWritten is a Pins that leaves each name as it is.
type asWritten struct{}

func (asWritten) Pin(_ context.Context, _ dockerfile.File, _ jobs.Build, images []engine.Image, _ string, _ io.Writer) ([]engine.Image, []byte, error) {
	return images, nil, nil
}

func (asWritten) Pushed(context.Context, string, string) {}
