//go:build integration

package jobstest_test

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// The suites must also pass where the clock cannot be moved, as on a real
// Redis. This waits for leases to run out, so it is not among the quick tests.
func TestMemoryClaimsRealClock(t *testing.T) {
	t.Parallel()
	jobstest.TestClaims(t, func(t *testing.T) jobstest.DB {
		s := memory(t)
		s.Advance = nil
		return s
	})
}
