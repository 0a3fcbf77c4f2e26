package control

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/worker"
)

// idle is a worker that ends its jobs one by one once it drains.
type idle struct {
	running atomic.Int32
	mode    atomic.Value
	end     func() // called when the last job has ended
}

func (w *idle) Drain(m worker.DrainMode) { w.mode.Store(m) }

func (w *idle) Busy() (busy, slots int) {
	busy = int(w.running.Load())
	if w.mode.Load() != nil && w.running.Add(-1) == -2 { // 0 was reported
		go w.end()
	}
	return max(busy, 0), 2
}

// serve serves a worker with two jobs in a new state directory whose lock is held; ended
// is called when the worker ends.
func serve(t *testing.T, ended func(lock *os.File)) (stateDir string, w *idle, log *bytes.Buffer) {
	t.Helper()
	stateDir, log = t.TempDir(), &bytes.Buffer{}
	lock, err := seat.Lock(stateDir, os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	w = &idle{}
	w.running.Store(2)
	stop := Serve(t.Context(), slog.New(slog.NewTextHandler(log, nil)), stateDir, w)
	t.Cleanup(stop)
	w.end = func() {
		stop()
		ended(lock)
	}
	return stateDir, w, log
}

// The command follows the worker to its exit.
func TestDrain(t *testing.T) {
	t.Parallel()
	dir, w, log := serve(t, func(lock *os.File) { _ = lock.Close() })
	if info, err := os.Stat(socket(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket: %v, %v; want one for the worker's user only", info, err)
	}
	var said bytes.Buffer
	if err := Drain(t.Context(), dir, worker.DrainAdopt, &said); err != nil {
		t.Fatal(err)
	}
	if got, want := said.String(), "2 running\n1 running\n0 running\nthe worker has ended\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if w.mode.Load() != worker.DrainAdopt || !strings.Contains(log.String(), "mode=adopt") {
		t.Errorf("drained as %v, log %q; want adopt, and the log to have it", w.mode.Load(), log)
	}
}

func TestDrainRefused(t *testing.T) {
	t.Parallel()
	dir, w, _ := serve(t, func(*os.File) {})
	err := Drain(t.Context(), dir, "never", &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), `the worker does not drain: unknown mode "never": want finish, hand-back or adopt`) || w.mode.Load() != nil {
		t.Errorf("error %v, mode %v; want a refusal with the modes, and nothing drained", err, w.mode.Load())
	}
}

// A state directory without a worker, or with one that died and left its socket.
func TestDrainWithoutWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		err := Drain(t.Context(), dir, worker.DrainFinish, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), "no worker answers on the state directory "+dir+"; name another with --state") {
			t.Errorf("error %v; want the directory, and what to do", err)
		}
		if err := os.WriteFile(socket(dir), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A worker whose process hangs after it has closed the connection is distinguished from one
// that has ended.
func TestDrainOfWorkerThatDoesNotExit(t *testing.T) {
	t.Parallel()
	dir, _, _ := serve(t, func(*os.File) {})
	var said bytes.Buffer
	err := drain(t.Context(), dir, worker.DrainFinish, &said, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "acknowledged the drain but has not exited after 1ms") || strings.Contains(said.String(), "has ended") {
		t.Errorf("error %v, printed %q; want that it has not exited", err, said.String())
	}
}

// An operator who does not want to wait ends the command, not the drain.
func TestDrainInterrupted(t *testing.T) {
	t.Parallel()
	dir, w, _ := serve(t, func(*os.File) {})
	w.running.Store(1 << 20)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	err := Drain(ctx, dir, worker.DrainFinish, writeFunc(func(string) { stop() }))
	if err == nil || !strings.Contains(err.Error(), "wait for the worker's end: context canceled") || w.mode.Load() != worker.DrainFinish {
		t.Errorf("error %v, mode %v; want the wait ended, and the worker drained", err, w.mode.Load())
	}
}

type writeFunc func(text string)

func (f writeFunc) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

// A worker that cannot listen works, and says how it can be drained.
func TestServeWithoutSocket(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	Serve(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), t.TempDir()+"/none", &idle{})()
	if !strings.Contains(log.String(), "drained by signals only") {
		t.Errorf("log %q; want it to name signals", log.String())
	}
}
