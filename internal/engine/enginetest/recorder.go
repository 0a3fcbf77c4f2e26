package enginetest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
)

// recorder keeps the two streams of a container and can be waited on.
type recorder struct {
	mu      sync.Mutex
	changed chan struct{}
	streams [2]bytes.Buffer
}

func newRecorder() *recorder { return &recorder{changed: make(chan struct{})} }

func (r *recorder) output() engine.Output {
	return engine.Output{Stdout: recorderStream{r, 0}, Stderr: recorderStream{r, 1}}
}

func (r *recorder) stdout() string { return r.text(0) }

func (r *recorder) stderr() string { return r.text(1) }

func (r *recorder) text(stream int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streams[stream].String()
}

// awaitStdout returns when the text has come.
func (r *recorder) awaitStdout(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		r.mu.Lock()
		changed, have := r.changed, r.streams[0].String()
		r.mu.Unlock()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("stdout has %q, want %q in it", have, text)
		}
	}
}

type recorderStream struct {
	r *recorder
	i int
}

var _ io.Writer = recorderStream{}

func (s recorderStream) Write(p []byte) (int, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	close(s.r.changed)
	s.r.changed = make(chan struct{})
	return s.r.streams[s.i].Write(p)
}
