package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/worker"
)

// controlSocket is where a running worker is told what to do, by those who can
// reach its state directory.
func controlSocket(stateDir string) string { return filepath.Join(stateDir, "control.sock") }

// drainable is a worker that can be told to end.
type drainable interface {
	Drain(worker.DrainMode)
	Busy() (busy, slots int)
}

// serveControl listens on the control socket until stop. A worker without one
// works all the same, and ends by signals only.
func serveControl(ctx context.Context, lg *slog.Logger, stateDir string, w drainable) (stop func()) {
	path := controlSocket(stateDir)
	_ = os.Remove(path) // of a worker that died: the lock is ours
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		lg.WarnContext(ctx, "this worker can be drained by signals only", "err", err)
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /drain", func(rw http.ResponseWriter, r *http.Request) {
		mode := worker.DrainMode(r.FormValue("mode"))
		if !slices.Contains(worker.DrainModes(), mode) {
			http.Error(rw, "unknown mode", http.StatusBadRequest)
			return
		}
		lg.InfoContext(ctx, "told to end", "mode", mode)
		w.Drain(mode)
		sayBusy(rw, r, w)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with stop
	return func() { _ = server.Close() }
}

// sayBusy says how many jobs are left until the process ends, which closes the
// connection.
func sayBusy(rw http.ResponseWriter, r *http.Request, w drainable) {
	flush := http.NewResponseController(rw)
	for said := -1; ; {
		if busy, _ := w.Busy(); busy != said {
			said = busy
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

func drainCommand(getenv func(string) string) *cobra.Command {
	c := defaults()
	finish, handBack, adopt := false, false, false
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "End the worker of this host, and say what becomes of its running jobs",
		Long: "Ends the worker that runs on this state directory and waits for it. No new jobs are taken. Running jobs\n" +
			"may finish, are handed back for others to begin anew, or stay: --adopt leaves containers running for a\n" +
			"worker that is started here within the lease, such as a newer version; builds go on until they have one.\n" +
			"What is not done within the worker's --drain is stopped and handed back.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, getenv); err != nil {
				return err
			}
			mode := worker.DrainFinish
			switch {
			case handBack:
				mode = worker.DrainHandBack
			case adopt:
				mode = worker.DrainAdopt
			}
			return drain(cmd.Context(), c.Worker.StateDir, mode, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&c.Worker.StateDir, "state", c.Worker.StateDir, "the worker's state directory")
	cmd.Flags().BoolVar(&finish, "finish", false, "let running jobs finish (the default)")
	cmd.Flags().BoolVar(&handBack, "hand-back", false, "stop running jobs and hand them back")
	cmd.Flags().BoolVar(&adopt, "adopt", false, "leave containers running for the next worker of this host")
	cmd.MarkFlagsMutuallyExclusive("finish", "hand-back", "adopt")
	return cmd
}

// drain tells the worker, and follows it to its end.
func drain(ctx context.Context, stateDir string, mode worker.DrainMode, progress io.Writer) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", controlSocket(stateDir))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://worker/drain?mode="+string(mode), nil)
	if err != nil {
		return fmt.Errorf("ask the worker to end: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no worker answers on the state directory %s; name another with --state (%w)", stateDir, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("the worker does not drain: %s", strings.TrimSpace(string(text)))
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		_, _ = fmt.Fprintln(progress, lines.Text())
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the worker's end: %w", context.Cause(ctx))
	}
	// The connection ends a moment before the process lets go.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if lock, err := seat.Lock(stateDir, 0); err == nil {
			return errors.Join(say(progress, "the worker has ended"), lock.Close())
		}
	}
	return errors.New("the worker said goodbye and is still there")
}

func say(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, text)
	return err
}
