package docker

import (
	"context"
	"errors"

	"github.com/slipway-farm/slipway/internal/engine"
)

func (e *Engine) Build(ctx context.Context, b engine.Build) (engine.Built, error) {
	return engine.Built{}, errors.New("todo")
}
