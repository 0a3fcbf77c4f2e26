package joblog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// tailChunk is the most that one call sends.
	tailChunk = 64 << 10
	// tailBacklog is the most that waits to be sent; more than that and the
	// oldest goes: readers see a gap and take it from the stored log.
	tailBacklog = 256 << 10
	// tailPause gathers output, so that a chatty job costs few calls. A service that
	// floods its log for days sends a chunk each time at most.
	tailPause = 50 * time.Millisecond
	// tailRetry is how long a piece waits that could not be sent.
	tailRetry = 500 * time.Millisecond
	// tailFlush bounds how long the end of a job waits for the live tail.
	tailFlush = 2 * time.Second
)

// SendFunc sends whole frames that start at offset of the log.
type SendFunc func(ctx context.Context, offset int64, frames []byte) error

// tailPump feeds the live tail from a goroutine of its own.
type tailPump struct {
	send SendFunc
	wake chan struct{}
	over chan struct{} // closed when no more output comes
	done chan struct{}
	once sync.Once // for over
	slow atomic.Bool

	mu     sync.Mutex // guards what follows
	queue  []piece
	queued int
}

type piece struct {
	offset int64
	frames []byte
}

func startPump(send SendFunc) *tailPump {
	p := &tailPump{send: send, wake: make(chan struct{}, 1), over: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// add queues frames that start at offset; it copies them and never waits.
func (p *tailPump) add(offset int64, frames []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.queue)
	if n > 0 && len(p.queue[n-1].frames)+len(frames) <= tailChunk && p.queue[n-1].offset+int64(len(p.queue[n-1].frames)) == offset {
		p.queue[n-1].frames = append(p.queue[n-1].frames, frames...)
	} else {
		p.queue = append(p.queue, piece{offset, append([]byte(nil), frames...)})
	}
	p.queued += len(frames)
	for p.queued > tailBacklog && len(p.queue) > 1 {
		p.queued -= len(p.queue[0].frames)
		p.queue = p.queue[1:]
	}
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

func (p *tailPump) run() {
	defer close(p.done)
	for {
		over := p.isOver() // asked first, so that nothing comes after the last take
		next, ok := p.take()
		switch {
		case !ok && over:
			return
		case !ok:
			select {
			case <-p.wake:
				p.pause(tailPause)
			case <-p.over:
			}
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), tailFlush)
		err := p.send(ctx, next.offset, next.frames)
		cancel()
		switch {
		case err != nil && !over && !errors.Is(err, jobs.ErrStale):
			// Redis fails over: readers need not notice. Once the job is over, a piece that
			// failed is lost to the tail, not to the log.
			p.putBack(next)
			p.pause(tailRetry)
		case err != nil || p.slow.Load():
			p.pause(tailPause)
		}
	}
}

// pause lets output gather, but never holds up the end of the job.
func (p *tailPump) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.over:
	}
}

func (p *tailPump) take() (next piece, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return piece{}, false
	}
	next = p.queue[0]
	p.queue = p.queue[1:]
	p.queued -= len(next.frames)
	return next, true
}

// putBack makes a piece the next one again.
func (p *tailPump) putBack(next piece) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.Insert(p.queue, 0, next)
	p.queued += len(next.frames)
}

func (p *tailPump) isOver() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// end lets the pump go once it has sent what is queued.
func (p *tailPump) end() { p.once.Do(func() { close(p.over) }) }

// close sends what is queued, for a moment at most. Nothing may be added after
// it.
func (p *tailPump) close(ctx context.Context) {
	p.end()
	t := time.NewTimer(tailFlush)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
	case <-ctx.Done():
	}
}
