// Package farmtest has what tests of whole farms share: build hosts that are handed from
// test to test. Only tests use it.
package farmtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// Pool hands build hosts with busybox to tests, each to one at a time. It starts another
// host when all are taken, so that a test never waits for one.
type Pool struct {
	// Name is a part of the hosts' names.
	Name string

	mu       sync.Mutex
	idle     []*hosttest.Host
	cleanups []func() error
}

// Take gives a build host to the test alone, until its end. The test must leave the host
// as it found it.
func (p *Pool) Take(t testing.TB) *hosttest.Host {
	t.Helper()
	h, err := p.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.release(h) })
	return h
}

func (p *Pool) take(ctx context.Context) (*hosttest.Host, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		h := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return h, nil
	}
	p.mu.Unlock()
	h, cleanup, err := hosttest.RunHost(p.Name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.cleanups = append(p.cleanups, cleanup)
	p.mu.Unlock()
	return h, h.ImportBusybox(ctx)
}

func (p *Pool) release(h *hosttest.Host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, h)
}

// Close ends all hosts, after the last test.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, cleanup := range p.cleanups {
		errs = append(errs, cleanup())
	}
	return errors.Join(errs...)
}
