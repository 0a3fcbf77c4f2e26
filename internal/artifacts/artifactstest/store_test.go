package artifactstest_test

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
)

func TestMemoryStore(t *testing.T) {
	artifactstest.TestStore(t, func(*testing.T) artifacts.Store { return artifactstest.NewStore() })
}
