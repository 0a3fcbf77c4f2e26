package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/worker"
)

// exitTime is how long a worker that has closed the connection may take to exit. The
// connection ends a moment before the process releases its lock.
const exitTime = 10 * time.Second

// Drain asks the worker of a state directory to end, and returns when it has exited.
// How many jobs still run goes to progress, a line for each change.
func Drain(ctx context.Context, stateDir string, mode worker.DrainMode, progress io.Writer) error {
	return drain(ctx, stateDir, mode, progress, exitTime)
}

func drain(ctx context.Context, stateDir string, mode worker.DrainMode, progress io.Writer, patience time.Duration) error {
	if err := ask(ctx, stateDir, mode, progress); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if lock, err := seat.Lock(stateDir, 0); err == nil {
			_, err := fmt.Fprintln(progress, "the worker has ended")
			return errors.Join(err, lock.Close())
		}
	}
	return fmt.Errorf("the worker acknowledged the drain but has not exited after %s; look at its log, or end it with a signal", patience)
}

// ask sends the request and follows the answer until the worker closes the connection.
func ask(ctx context.Context, stateDir string, mode worker.DrainMode, progress io.Writer) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket(stateDir))
		},
	}}
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
	return nil
}
