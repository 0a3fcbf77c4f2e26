package main

import (
	"context"

	"github.com/slipway-farm/slipway/internal/pins"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// tags moves tags, and has builds know of it at once.
type tags struct {
	rebuild.Tags
	pins *pins.Pins
}

// Retag implements rebuild.Tags.
func (t tags) Retag(ctx context.Context, tag, digest string) error {
	err := t.Tags.Retag(ctx, tag, digest)
	if err == nil {
		t.pins.Pushed(ctx, tag, digest)
	}
	return err
}
