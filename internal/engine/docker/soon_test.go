package docker

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A registry that is unwell for a moment is asked again, and no other for what it said.
func TestSoon(t *testing.T) {
	t.Parallel()
	unavailable := errors.New("Error response from daemon: received unexpected HTTP status: 503 Service Unavailable")
	for _, tt := range []struct {
		name   string
		err    error
		fails  int // so often
		asked  int
		within time.Duration
		digest string
	}{
		{"well", nil, 0, 1, 0, "sha256:1"},
		{"unwell for a moment", unavailable, 2, 3, 3 * time.Second, "sha256:1"},
		{"unwell for longer", unavailable, 99, 4, 7 * time.Second, ""},
		{"a name that is not looked up", jobs.Fail(jobs.KindRegistryUnavailable, nil, "", "not now"), 1, 2, time.Second, "sha256:1"},
		{"not allowed by the operator", jobs.Fail(jobs.KindRegistryNotAllowed, nil, "", "503 Service Unavailable"), 1, 1, 0, ""},
		{"no such image", errors.New("Error response from daemon: manifest unknown"), 1, 1, 0, ""},
		{"no login", errors.New("Error response from daemon: unauthorized: authentication required"), 1, 1, 0, ""},
		{"the daemon is gone", io.EOF, 1, 1, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, asked := time.Now(), 0
				digest, err := soon(t.Context(), began.Add(soonTime), func() (string, error) {
					if asked++; asked <= tt.fails {
						return "", tt.err
					}
					return "sha256:1", nil
				})
				if digest != tt.digest || (err != nil) != (tt.digest == "") || asked != tt.asked || time.Since(began) != tt.within {
					t.Errorf("%q, %v after %d questions in %s; want %q after %d in %s", digest, err, asked, time.Since(began), tt.digest, tt.asked, tt.within)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := soon(ctx, time.Now().Add(soonTime), func() (string, error) { return "", unavailable }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of the job's time: %v", err)
		}
	})
}
