// Package control is the socket in a state directory over which `worker drain` reaches
// the worker that runs there. cmd/worker calls [Serve] in the worker, and [Drain] in the
// command. Who may write to the state directory may use the socket.
package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// socket is where a worker listens.
func socket(stateDir string) string { return filepath.Join(stateDir, "control.sock") }

// Drainable is a worker that can be drained; [worker.Worker] is one.
type Drainable interface {
	// Drain makes the worker end in this mode, and returns at once.
	Drain(worker.DrainMode)
	// Busy returns how many jobs run, of how many that may.
	Busy() (busy, slots int)
}

// Serve listens on the socket of a state directory, whose lock the caller has, until
// stop is called. A worker without the socket works all the same, and is drained by
// signals only.
func Serve(ctx context.Context, lg *slog.Logger, stateDir string, w Drainable) (stop func()) {
	path := socket(stateDir)
	_ = os.Remove(path) // of a worker that died: the lock is ours
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		lg.WarnContext(ctx, "listening on the control socket failed; this worker can be drained by signals only", "err", err)
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /drain", func(rw http.ResponseWriter, r *http.Request) {
		mode := worker.DrainMode(r.FormValue("mode"))
		if !slices.Contains(worker.DrainModes(), mode) {
			http.Error(rw, fmt.Sprintf("unknown mode %q: want %s", mode, jobs.Either(worker.DrainModes())), http.StatusBadRequest)
			return
		}
		lg.InfoContext(ctx, "the operator asked this worker to drain", "mode", mode)
		w.Drain(mode)
		reportBusy(rw, r, w)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with stop
	return func() { _ = server.Close() }
}

// reportBusy prints how many jobs are left, each time when that changes, until the
// worker ends, which closes the connection.
func reportBusy(rw http.ResponseWriter, r *http.Request, w Drainable) {
	flush := http.NewResponseController(rw)
	for printed := -1; ; {
		if busy, _ := w.Busy(); busy != printed {
			printed = busy
			_, _ = fmt.Fprintf(rw, "%d running\n", busy)
			_ = flush.Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}
