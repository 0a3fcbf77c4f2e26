package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// A FIFO in the place of a blob is told at once: submit does not wait for its writer.
func TestSubmitFindsAFIFO(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{paused: true})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	up, err := pack.Upload(t.Context(), artifacts.NewBlobs(artifactstest.NewStore(), ""), dir, pack.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hexa := strings.TrimPrefix(up.Context.Digest, "sha256:")
	blob := filepath.Join(f.dir, "sha256", hexa[:2], hexa+".zst")
	if err := errors.Join(os.MkdirAll(filepath.Dir(blob), 0o750), syscall.Mkfifo(blob, 0o600)); err != nil {
		t.Fatal(err)
	}
	var out, errs buffer
	code := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}).run(t.Context(), []string{"submit", "--store", f.dir, dir})
	if want := "the artifact store has a FIFO where it keeps the file " + hexa + ".zst (store_failed)"; code != jobs.ExitInfra || !strings.Contains(errs.String(), want) {
		t.Errorf("exit code %d, want 3 and %q:\n%s", code, want, errs.String())
	}
	if list, err := f.svc.List(t.Context(), jobs.Query{Limit: 1}); err != nil || len(list.Jobs) > 0 {
		t.Errorf("there are jobs: %+v, %v", list, err)
	}
}

// A store that can never be made is told with the system's own error, and not as one to try again.
func TestSubmitToAStoreThatCannotBe(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{paused: true})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs buffer
	code := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}).run(t.Context(), []string{"submit", "--store", "/proc/slipway", dir})
	want := "error: cannot use the artifact store (--store, SLIPWAY_STORE): mkdir /proc/slipway: no such file or directory\n"
	if code != jobs.ExitUsage || !strings.HasPrefix(errs.String(), want) {
		t.Errorf("exit code %d and %q; want 2 and %q", code, errs.String(), want)
	}
}

// Interrupts end a verb that is held up by something that no context ends.
func TestInterruptsEndWhatIsHeldUp(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{paused: true})
	stdin, writer := io.Pipe() // never brings anything
	interrupts, exits := make(chan os.Signal, 2), make(chan int, 1)
	var out, errs buffer
	done := make(chan int, 1)
	go func() {
		done <- f.app(process{
			getenv: noEnv, stdin: stdin, stdout: &out, stderr: &errs, interrupts: interrupts,
			exit: func(code int) {
				exits <- code
				_ = writer.CloseWithError(errors.New("the process has ended"))
			},
		}).run(context.Background(), []string{"submit", "--store", f.dir, "-"})
	}()
	interrupts <- os.Interrupt
	interrupts <- os.Interrupt
	select {
	case code := <-exits:
		if code != jobs.ExitDetached || !strings.Contains(errs.String(), "interrupted") {
			t.Errorf("exit code %d, %q, want 130", code, errs.String())
		}
		<-done
	case code := <-done: // it was interrupted before it was held up
		if code != jobs.ExitDetached {
			t.Errorf("exit code %d, %q, want 130", code, errs.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatal("two interrupts do not end it")
	}
}
