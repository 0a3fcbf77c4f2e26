package docker

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/slipway-farm/slipway/internal/engine"
)

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestDemuxSkips(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := newDemux(engine.Skip{Stdout: 3}, engine.Output{Stdout: &out, Stderr: fullDisk{}})
	for _, part := range []string{"a", "bcd", "ef"} {
		if n, err := io.WriteString(d.stdout, part); n != len(part) || err != nil {
			t.Errorf("write = %d, %v", n, err)
		}
	}
	if n, err := io.WriteString(d.stderr, "lost"); n != 4 || err != nil {
		t.Errorf("write to a full disk = %d, %v; want it drained", n, err)
	}
	if out.String() != "def" || d.total() != 10 {
		t.Errorf("handed on %q, counted %d; want def and 10", out.String(), d.total())
	}
	d.rewind()
	_, _ = io.WriteString(d.stdout, "abcdefgh")
	if out.String() != "defgh" {
		t.Errorf("after a rewind %q, want defgh", out.String())
	}
}

func TestGateKeepsTheReadersError(t *testing.T) {
	t.Parallel()
	want := errors.New("digest mismatch")
	g := newGate(iotest.ErrReader(want))
	if _, err := io.ReadAll(g); !errors.Is(err, want) || !errors.Is(g.failure(), want) {
		t.Errorf("read = %v, failure = %v; want %v", err, g.failure(), want)
	}
	whole := newGate(bytes.NewReader([]byte("tar")))
	if _, err := io.ReadAll(whole); err != nil || whole.failure() != nil {
		t.Errorf("read = %v, failure = %v; want none", err, whole.failure())
	}
	whole.close(t.Context())
	if _, err := whole.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after close = %v, want a refusal", err)
	}
}
