package artifacts_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// pinsFrom answer from a moment on.
type pinsFrom struct{ back time.Time }

func (p pinsFrom) Pin(context.Context, string) (bool, error) {
	if time.Now().Before(p.back) {
		return false, errors.New("connection refused")
	}
	return true, nil
}

// A pin waits for a Redis that is away, and logs that it does.
func TestPatientPins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := artifacts.PatientPins{Pins: pinsFrom{time.Now().Add(time.Hour)}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Pin(short, "sha256:1"); err == nil || err.Error() != "connection refused" {
			t.Errorf("error %v; want what Redis said when the time was over", err)
		}
		if text := log.String(); !strings.Contains(text, "connection refused") || !strings.Contains(text, "sha256:1") {
			t.Errorf("log %q; want the digest and what Redis said", text)
		}
		if condemned, err := p.Pin(t.Context(), "sha256:1"); err != nil || !condemned {
			t.Errorf("condemned %v, %v; want the answer once Redis is back", condemned, err)
		}
	})
}
