package jobstest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// CheckFailure fails unless err is a *jobs.Failure of the kind whose message says so,
// with a hint, and could not be taken for the end of a stream.
func CheckFailure(t testing.TB, err error, kind jobs.Kind, says string) {
	t.Helper()
	f, ok := err.(*jobs.Failure) //nolint:errorlint // the promise is the type itself
	if !ok {
		t.Fatalf("got %v (%T), want a *jobs.Failure", err, err)
	}
	if f.Kind != kind || !strings.Contains(f.Message, says) {
		t.Errorf("got %s: %q, want %s: ...%s...", f.Kind, f.Message, kind, says)
	}
	if f.Hint == "" {
		t.Errorf("%q has no hint", f.Message)
	}
	if errors.Is(err, io.EOF) {
		t.Errorf("%v has io.EOF in its chain, which a caller may take for the end", err)
	}
}
