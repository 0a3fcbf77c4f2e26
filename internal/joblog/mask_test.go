package joblog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/mask"
)

// textOf is what the frames of a file say on one stream.
func textOf(t *testing.T, path string, s jobs.Stream) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for fr := jobs.NewFrameReader(bytes.NewReader(raw)); ; {
		f, err := fr.Next()
		if errors.Is(err, io.EOF) {
			return text.String()
		} else if err != nil {
			t.Fatal(err)
		}
		if f.Stream == s {
			text.Write(f.Data)
		}
	}
}

// A secret is covered where it comes in pieces, on each stream for itself, and where the
// process dies between two of them.
func TestLogCoversSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter22"
	path := filepath.Join(t.TempDir(), "spool")
	var sent bytes.Buffer
	open := func() *Log {
		l, err := Open(path, 0, func(_ context.Context, _ int64, frames []byte) error {
			sent.Write(frames)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		l.Mask(mask.Of([]byte(secret)))
		return l
	}
	out := "it is hunter22 and hunter23, hunter22\n"
	l := open()
	for _, part := range []string{"it is hun", "ter22 and hunt"} {
		l.Write(jobs.Stdout, []byte(part))
	}
	l.Write(jobs.Stderr, []byte("hunter22!\nhun"))
	if got, want := l.Received(), (engine.Skip{Stdout: 23, Stderr: 13}); got != want {
		t.Errorf("received %+v; want %+v: the engine is not to send what is held back to the same process", got, want)
	}
	l.Suspend(t.Context())

	l = open()
	skip := l.Received()
	if want := (engine.Skip{Stdout: 19, Stderr: 10}); skip != want {
		t.Errorf("after a restart %+v is received; want %+v: what was held back has to come again", skip, want)
	}
	l.Write(jobs.Stdout, []byte(out)[skip.Stdout:])
	l.Write(jobs.Stderr, []byte("hun")) // the end
	if lines := strings.Join(l.Lines(), "\n"); strings.Contains(lines, secret) {
		t.Errorf("the last lines have the secret: %q", lines)
	}
	l.Close(t.Context())
	if got, want := textOf(t, path, jobs.Stdout), "it is ******** and hunter23, ********\n"; got != want {
		t.Errorf("stdout is %q; want %q", got, want)
	}
	if got, want := textOf(t, path, jobs.Stderr), "********!\nhun"; got != want {
		t.Errorf("stderr is %q; want %q", got, want)
	}
	if bytes.Contains(sent.Bytes(), []byte(secret)) {
		t.Errorf("the live tail has the secret: %q", sent.Bytes())
	}
}
