package webhooks_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// fault is what happens at a step.
type fault string

const (
	diesBefore  fault = "the process dies before it"
	diesAfter   fault = "the process dies after it"
	failsBefore fault = "it fails"
	failsAfter  fault = "its answer is lost"
	forgets     fault = "Redis loses the last steps"
)

var errFault = errors.New("a fault of the test")

// steps are the calls that a process makes to Redis and to receivers, one of which goes wrong.
type steps struct {
	// at is the step that goes wrong, from 1 on.
	at    int
	fault fault
	// die ends the process.
	die func()
	// snapshot returns what puts Redis back to how it is now; only forgets needs it.
	snapshot func() (restore func())

	mu      sync.Mutex
	n       int
	what    string // the step that went wrong, "" before
	dead    bool
	restore []func()
}

// lostSteps is how many steps a Redis forgets.
const lostSteps = 4

// do makes a step.
func (s *steps) do(what string, step func() error) error {
	now, err := s.begin(what)
	if err != nil {
		return err
	}
	err = step()
	switch {
	case now == diesAfter:
		s.kill()
		return errFault
	case now == failsAfter:
		return errFault
	}
	return err
}

// begin counts a step, and tells which fault it has.
func (s *steps) begin(what string) (fault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return "", errFault
	}
	if s.fault == forgets {
		s.restore = append(s.restore, s.snapshot())
		s.restore = s.restore[max(0, len(s.restore)-lostSteps):]
	}
	if s.n++; s.n != s.at {
		return "", nil
	}
	s.what = what
	switch s.fault {
	case diesBefore:
		s.dead = true
		s.die()
		return "", errFault
	case failsBefore:
		return "", errFault
	case forgets:
		s.restore[0]()
	case diesAfter, failsAfter:
	}
	return s.fault, nil
}

func (s *steps) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.die()
}

// hit is the step that went wrong, "" when there were not so many.
func (s *steps) hit() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.what
}

// stepping has a database take steps.
type stepping struct {
	jobs.Endings
	jobs.Webhooks
	jobs.DueCalls
	s *steps
}

func (d stepping) Unread(ctx context.Context, readers ...string) (list []string, err error) {
	err = d.s.do("Unread", func() error { list, err = d.Endings.Unread(ctx, readers...); return err })
	return list, err
}

func (d stepping) Ended(ctx context.Context, reader string, limit int) (p jobs.EndedPage, err error) {
	err = d.s.do("Ended", func() error { p, err = d.Endings.Ended(ctx, reader, limit); return err })
	return p, err
}

// hooksOf is a database under another name, since a method of stepping has it.
type hooksOf struct{ stepping }

func (d hooksOf) Webhooks(ctx context.Context) (list []jobs.Webhook, err error) {
	err = d.s.do("Webhooks", func() error { list, err = d.stepping.Webhooks.Webhooks(ctx); return err })
	return list, err
}

func (d hooksOf) AddWebhook(ctx context.Context, w jobs.Webhook) error {
	return d.stepping.Webhooks.AddWebhook(ctx, w)
}

func (d hooksOf) ChangeWebhook(ctx context.Context, name string, change func(*jobs.Webhook) error) error {
	return d.s.do("ChangeWebhook", func() error { return d.stepping.Webhooks.ChangeWebhook(ctx, name, change) })
}

func (d hooksOf) RemoveWebhook(ctx context.Context, name string) error {
	return d.stepping.Webhooks.RemoveWebhook(ctx, name)
}

func (d stepping) EndedCalls(ctx context.Context, reader, nonce string, p jobs.EndedPage, calls ...jobs.HookCall) (mine bool, refused int, err error) {
	err = d.s.do("EndedCalls", func() error {
		mine, refused, err = d.DueCalls.EndedCalls(ctx, reader, nonce, p, calls...)
		return err
	})
	return mine, refused, err
}

func (d stepping) DueEndpoints(ctx context.Context, limit int) (due []string, next time.Duration, err error) {
	err = d.s.do("DueEndpoints", func() error { due, next, err = d.DueCalls.DueEndpoints(ctx, limit); return err })
	return due, next, err
}

func (d stepping) TakeCalls(ctx context.Context, endpoint string, n int, lease time.Duration) (calls []jobs.HookCall, err error) {
	err = d.s.do("TakeCalls", func() error { calls, err = d.DueCalls.TakeCalls(ctx, endpoint, n, lease); return err })
	if err != nil {
		calls = nil
	}
	return calls, err
}

func (d stepping) KeepCall(ctx context.Context, c jobs.HookCall) (kept bool, givenUp int, err error) {
	err = d.s.do("KeepCall", func() error { kept, givenUp, err = d.DueCalls.KeepCall(ctx, c); return err })
	return kept, givenUp, err
}

func (d stepping) CallTurn(ctx context.Context, nonce string, ttl time.Duration) (mine bool, err error) {
	err = d.s.do("CallTurn", func() error { mine, err = d.DueCalls.CallTurn(ctx, nonce, ttl); return err })
	return mine, err
}

// steppingTo has requests be steps.
type steppingTo struct {
	http.RoundTripper
	s *steps
}

func (r steppingTo) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	err = r.s.do(fmt.Sprint(req.Method, " ", req.URL.Host), func() error { resp, err = r.RoundTripper.RoundTrip(req); return err })
	if err != nil {
		return nil, err
	}
	return resp, nil
}
