package enginetest

import (
	"context"
	"errors"
	"sync"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// process follows a container's output. Its goroutine ends with the container,
// with the container's removal, or with Detach.
type process struct {
	c        *container
	detach   chan struct{}
	detached sync.Once
	drained  chan struct{} // closed when the goroutine has ended
}

var errDetached = errors.New("detached from the container")

// Reattach implements engine.Engine.
func (f *Fake) Reattach(ctx context.Context, id string, skip engine.Skip, out engine.Output) (engine.Process, error) {
	if err := f.enter(ctx, "reattach", id); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return nil, err
	}
	return follow(c, skip, out), nil
}

func follow(c *container, skip engine.Skip, out engine.Output) *process {
	p := &process{c: c, detach: make(chan struct{}), drained: make(chan struct{})}
	go p.copy(skip, out)
	return p
}

func (p *process) copy(skip engine.Skip, out engine.Output) {
	defer close(p.drained)
	next := 0
	for {
		p.c.fake.mu.Lock()
		fresh := p.c.output[next:]
		changed := p.c.fake.changed
		over := p.c.state.Status == engine.StatusExited || p.c.gone
		p.c.fake.mu.Unlock()
		for _, ch := range fresh {
			writeSkipping(ch, &skip, out)
		}
		next += len(fresh)
		if over && len(fresh) == 0 {
			return
		}
		if len(fresh) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-p.detach:
			return
		}
	}
}

func writeSkipping(ch chunk, skip *engine.Skip, out engine.Output) {
	w, left := out.Stdout, &skip.Stdout
	if ch.stream == jobs.Stderr {
		w, left = out.Stderr, &skip.Stderr
	}
	n := min(*left, int64(len(ch.data)))
	*left -= n
	if rest := ch.data[n:]; len(rest) > 0 && w != nil {
		_, _ = w.Write(rest) // an engine drains a container whether or not a client listens
	}
}

// Wait implements engine.Process.
func (p *process) Wait(ctx context.Context) (engine.State, error) {
	for {
		p.c.fake.mu.Lock()
		changed, down, gone := p.c.fake.changed, p.c.fake.down, p.c.gone
		state := p.c.snapshot()
		p.c.fake.mu.Unlock()
		select {
		case <-p.detach:
			return engine.State{}, errDetached
		default:
		}
		switch {
		case down:
		case gone:
			return engine.State{}, lost(p.c.state.ID)
		case state.Status == engine.StatusExited:
			select {
			case <-p.drained:
				return state, nil
			case <-ctx.Done():
				return engine.State{}, ctx.Err()
			}
		}
		select {
		case <-changed:
		case <-p.detach:
		case <-ctx.Done():
			return engine.State{}, ctx.Err()
		}
	}
}

// Detach implements engine.Process.
func (p *process) Detach() {
	p.detached.Do(func() { close(p.detach) })
	<-p.drained
}
