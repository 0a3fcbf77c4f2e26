package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// defaultReady is how long a service may take to become ready.
const defaultReady = time.Minute

// hangUp is how long a connection must hold to count as accepted.
const hangUp = 250 * time.Millisecond

// serve waits until the service is ready and lets it go on.
func (a *attempt) serve(ctx context.Context, proc engine.Process) error {
	spec := a.job.Spec.Run
	timeout := defaultReady
	if spec.Ready != nil {
		timeout = spec.Ready.Timeout.Or(defaultReady)
	}
	probing, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	ended := make(chan engine.State, 1)
	go func() {
		if state, err := proc.Wait(probing); err == nil {
			ended <- state
		}
	}()
	why := "nothing was heard of it"
	for {
		reason, err := a.probe(probing)
		if err != nil && probing.Err() == nil {
			return err
		}
		if reason != "" {
			why = reason
		}
		if err == nil && reason == "" {
			return a.keep(ctx, proc)
		}
		select {
		case state := <-ended:
			if err := a.exited(ctx, state); err != nil && jobs.AsFailure(err).Kind != jobs.KindExitNonzero {
				return err
			}
			f := jobs.Fail(jobs.KindNotReady, nil, "a service must keep running in the foreground",
				"the service ended with exit code %d before it was ready", state.ExitCode)
			f.Tail = a.joblog.Lines()
			return f
		case <-probing.Done():
			err := a.halt(probing, proc, probing.Err())
			if ctx.Err() != nil {
				return err
			}
			f := jobs.Fail(jobs.KindNotReady, err, "check the port and the path of run.ready, or raise run.ready.timeout",
				"the service was not ready within %s: %s", jobs.Duration(timeout), why)
			f.Tail = a.joblog.Lines()
			return f
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// probe asks once; "" means ready. It records the published addresses.
func (a *attempt) probe(ctx context.Context) (reason string, err error) {
	state, err := a.w.Engine.Inspect(ctx, a.container().ID)
	if err != nil {
		return "", err
	}
	a.res.Addresses = a.addresses(state)
	ready := a.job.Spec.Run.Ready
	if state.Status != engine.StatusRunning {
		return "the container does not run", nil
	}
	switch {
	case ready == nil:
		return "", nil
	case ready.Health:
		return a.health(state)
	}
	addr := loopback(state.Addresses[fmt.Sprintf("%d/tcp", ready.Port)])
	if !ready.TCP {
		return getOnce(ctx, "http://"+addr+ready.HTTP), nil
	}
	if reason := dialOnce(ctx, addr); reason != "" {
		return reason, nil
	}
	// It may have ended since, with Docker's proxy still holding the port.
	state, err = a.w.Engine.Inspect(ctx, a.container().ID)
	if err == nil && state.Status != engine.StatusRunning {
		return "the container does not run", nil
	}
	return "", err
}

// health is what the image's own check says. A container that is found to be unhealthy is not
// waited for: the check has its own retries, and its own patience with a start.
func (a *attempt) health(state engine.State) (reason string, err error) {
	said := jobs.Line(a.covered.Text(state.HealthSaid), jobs.MaxCause)
	switch state.Health {
	case engine.Healthy:
		return "", nil
	case engine.Unchecked:
		return "", jobs.Fail(jobs.KindNotReady, nil, "give the image one, or ask with --ready-http or --ready-tcp", "the image has no HEALTHCHECK, by which the service is to be ready")
	case engine.Unhealthy:
		f := jobs.Fail(jobs.KindNotReady, nil, "look at what the HEALTHCHECK of the image asks, and at the log", "the service is unhealthy, as its HEALTHCHECK says").Said(said)
		f.Tail = a.joblog.Lines()
		return "", f
	}
	reason = "its HEALTHCHECK has not found it healthy yet"
	if said != "" {
		reason += ": " + said
	}
	return reason, nil
}

func dialOnce(ctx context.Context, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "nothing accepts connections on " + addr
	}
	defer conn.Close()
	// Docker's proxy accepts whether or not the container listens, and hangs up
	// when it does not. A service speaks first or waits for us.
	_ = conn.SetReadDeadline(time.Now().Add(hangUp))
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "nothing accepts connections behind " + addr
	}
	return ""
}

func getOnce(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return "nothing answers at " + url
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return url + " answers " + resp.Status
	}
	return ""
}

// keep makes the running container a kept service: from the result on, it stays
// until KeepUntil on Redis time.
func (a *attempt) keep(ctx context.Context, proc engine.Process) error {
	var sig jobs.Signal
	err := insist(ctx, func() (err error) {
		sig, err = a.renew(ctx)
		return err
	})
	if err != nil { // also because it is left to the next worker, which only ctx knows
		return explain(ctx, jobs.StageRun, err)
	}
	a.res.KeepUntil = sig.Now.Add(a.job.Spec.Run.Keep.D())
	a.res.Service = &jobs.ServiceStatus{State: jobs.ServiceUp}
	a.proc = proc
	return nil
}
