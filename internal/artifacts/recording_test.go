package artifacts

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestRecordingOnAFullDisk: a full disk of the farm is not a fault of the context.
func TestRecordingOnAFullDisk(t *testing.T) {
	t.Parallel()
	full := func(t *testing.T) *os.File {
		t.Helper()
		f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	isFull := func(t *testing.T, err error) {
		t.Helper()
		f, ok := errors.AsType[*jobs.Failure](err)
		if !ok || f.Kind != jobs.KindDiskFull || f.Hint == "" || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want %s", err, jobs.KindDiskFull)
		}
	}
	plain := &Recording{f: full(t)}
	_, err := plain.Write([]byte("x"))
	isFull(t, err)

	packed := &Recording{f: full(t)}
	if packed.enc, err = zstd.NewWriter(packed.f); err != nil {
		t.Fatal(err)
	}
	if _, err := packed.Write([]byte("x")); err != nil {
		t.Fatalf("the encoder keeps a byte: %v", err)
	}
	_, _, err = packed.Rewind()
	isFull(t, err)
}

// TestRecordingHasNoName: what is kept for a while cannot be left behind.
func TestRecordingHasNoName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rec, err := NewRecording(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("there is %q (%v)", left, err)
	}
	_, err = NewRecording(filepath.Join(dir, "missing"), false)
	if f, ok := errors.AsType[*jobs.Failure](err); !ok || f.Kind != jobs.KindInternal {
		t.Errorf("without its directory: %v, want %s", err, jobs.KindInternal)
	}
}
