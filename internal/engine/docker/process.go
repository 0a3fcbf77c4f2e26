package docker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// errDetached is what Wait returns after Detach.
var errDetached = errors.New("detached from the container")

// process follows one container. The goroutine in follow owns everything but
// the channels; it ends with the container, when the container is lost, or with
// Detach. state and err are written before done is closed and read after it.
type process struct {
	e      *Engine
	id     string
	out    *demux
	life   context.Context //nolint:containedctx // spans the container, not a call; ends with Detach
	cancel context.CancelFunc
	done   chan struct{}
	state  engine.State
	err    error
}

func newProcess(ctx context.Context, e *Engine, id string, skip engine.Skip, out engine.Output) *process {
	p := &process{e: e, id: id, out: newDemux(skip, out), done: make(chan struct{})}
	// The process outlives the call that started it.
	p.life, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return p
}

// Reattach implements engine.Engine.
func (e *Engine) Reattach(ctx context.Context, id string, skip engine.Skip, out engine.Output) (engine.Process, error) {
	if _, err := e.Inspect(ctx, id); err != nil {
		return nil, err
	}
	p := newProcess(ctx, e, id, skip, out)
	l, err := p.relink()
	if err != nil {
		p.cancel()
		return nil, failure(ctx, err, "send the container's output")
	}
	go p.follow(l, false)
	return p, nil
}

// Wait implements engine.Process.
func (p *process) Wait(ctx context.Context) (engine.State, error) {
	select {
	case <-p.done:
		return p.state, p.err
	case <-ctx.Done():
		return engine.State{}, ctx.Err()
	}
}

// Detach implements engine.Process. After it returns nothing is written any
// more, so a Writer must not call it.
func (p *process) Detach() {
	p.cancel()
	<-p.done
}

// maxTails is how often the rest of an ended container's output is asked for.
const maxTails = 3

// follow reads one link after another until the container has ended and its output is
// whole. The loop ends well in two ways: the container has ended and a link has
// delivered everything, or it has ended and maxTails links have not. A link that breaks
// says nothing by itself, so each round asks the daemon first. What tells the end is the
// daemon's own word (wait and inspect): an attach that ends without an error may as well
// be a daemon that died. complete tells that l is sure to have all of the output: an
// attach from before the start has, and so has a log that is read after the end. A log
// that is followed meanwhile may end without the last of it on engine 20.10.
func (p *process) follow(l link, complete bool) {
	defer close(p.done)
	defer p.cancel()
	torn := false
	for tails := 0; ; {
		told := p.read(l)
		whole := told && complete
		s, absent, err := p.inspect()
		if err == nil && !absent && p.e.closing(p.life) {
			s, _, err = p.inspect()
			absent = true
		}
		if err != nil {
			p.err = err
			return
		}
		if s.Status != engine.StatusRunning {
			if absent && p.endedWithDaemon(s) {
				p.err = jobs.Fail(jobs.KindDaemonLost, nil, hintRetry, "the Docker daemon was away when the container ended, and does not know how it did")
				return
			}
			// The output passes through the daemon's memory. One that starts
			// again may answer late instead of not at all.
			torn = torn || (absent || !told) && tails == 0
			if !whole && tails == maxTails {
				p.e.lg.WarnContext(p.life, "lost the end of a container's output", "container_id", p.id)
			}
			if whole || tails == maxTails {
				p.state = s
				p.state.Torn = torn
				p.state.Killed = p.killed(s)
				return
			}
			tails++
		}
		complete = s.Status != engine.StatusRunning
		if l, err = p.relink(); err != nil {
			p.e.lg.WarnContext(p.life, "reading a container's output failed", "container_id", p.id, "err", err)
			l = link{}
		}
	}
}

// inspect asks for the container's state until the daemon answers. absent tells
// that it did not at first.
func (p *process) inspect() (s engine.State, absent bool, err error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		s, err = p.e.Inspect(p.life, p.id)
		switch {
		case p.life.Err() != nil:
			return s, absent, errDetached
		case err == nil, jobs.AsFailure(err).Kind == jobs.KindContainerLost:
			return s, absent, err
		}
		absent = true
		select {
		case <-time.After(pause):
		case <-p.life.Done():
			return s, absent, errDetached
		}
	}
}

// endedWithDaemon guesses whether the daemon took the container along, which is
// no doing of the job's. Without live-restore every container ends with its
// daemon, with any exit code if it listens to SIGTERM. With it, only a kill by
// another client looks like that, and a container of which the daemon does
// not know how it ended.
func (p *process) endedWithDaemon(s engine.State) bool {
	if slices.Contains([]int{137, 143, engine.UnknownExit}, s.ExitCode) && !s.OOM {
		return true
	}
	info, err := p.e.cli.Info(p.life)
	return err == nil && !info.LiveRestoreEnabled
}

// relink follows the container's log from the start, past what was read, and
// waits for its end. It works on a stopped container, too. The log is not quite
// what was attached to: engine 20.10 drops the newline of a line over 16 KiB.
func (p *process) relink() (link, error) {
	p.out.rewind()
	output, err := p.e.cli.ContainerLogs(p.life, p.id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		return link{}, err
	}
	l := link{output: output}
	l.exit, l.lost = p.e.cli.ContainerWait(p.life, p.id, container.WaitConditionNotRunning)
	return l, nil
}
