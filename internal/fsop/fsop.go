// Package fsop calls into file systems that may hang. A call into a network file
// system whose server is gone need not return for hours, and no context ends it.
// So it runs on a goroutine of its own: its caller goes on when its context ends,
// and the call is left to itself. The artifact store in a directory, file contexts
// and the look at a disk's room use it.
//
// A call that was left keeps a thread and a file descriptor until it returns.
// A [Gate] bounds how many there are: beyond that, calls fail at once.
package fsop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrLeft is in the chain of an error of a call that goes on without its
	// caller: what it uses must not be touched any more.
	ErrLeft = errors.New("the file system did not answer in time")
	// ErrHangs is in the chain of an error of a call that was not begun, because
	// too many before it hang.
	ErrHangs = errors.New("the file system does not answer")
)

// Gate counts the calls into one file system that were left. It is safe for
// concurrent use.
type Gate struct {
	most int64
	left atomic.Int64
	// pieces are those of closed readers.
	pieces sync.Pool
}

// NewGate returns a Gate that begins nothing while so many calls hang.
func NewGate(most int) *Gate {
	return &Gate{most: int64(most), pieces: sync.Pool{New: func() any { return new(piece) }}}
}

// Left is how many calls hang that no caller waits for.
func (g *Gate) Left() int { return int(g.left.Load()) }

// Do returns what f returns, or an error with [ErrLeft] and ctx's cause when ctx
// ends before. Then late, unless it is nil, gets what f returns in the end.
func Do[T any](ctx context.Context, g *Gate, f func() (T, error), late func(T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	if n := g.left.Load(); n >= g.most {
		return none, fmt.Errorf("%w: %d calls hang", ErrHangs, n)
	}
	return begin(g, f, late).wait(ctx)
}

// cleanupTime is how long a caller waits for its clean-up.
const cleanupTime = time.Second

// Cleanup runs f, also while others hang, and waits for it for a moment.
func (g *Gate) Cleanup(f func()) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	_, _ = begin(g, func() (struct{}, error) { f(); return struct{}{}, nil }, nil).wait(ctx)
}

// call is one that was begun.
type call[T any] struct {
	gate  *Gate
	state atomic.Int32
	done  chan struct{} // closed when it has returned; v and err are set then
	v     T
	err   error
}

// The states of a call.
const (
	isRunning = iota
	hasReturned
	wasLeft
)

func begin[T any](g *Gate, f func() (T, error), late func(T, error)) *call[T] {
	c := &call[T]{gate: g, done: make(chan struct{})}
	go func() {
		c.v, c.err = f()
		if c.state.CompareAndSwap(isRunning, hasReturned) {
			close(c.done)
			return
		}
		if late != nil {
			late(c.v, c.err)
		}
		g.left.Add(-1)
	}()
	return c
}

// wait waits for a call once; it is left when ctx ends before.
func (c *call[T]) wait(ctx context.Context) (T, error) {
	select {
	case <-c.done:
		return c.v, c.err
	case <-ctx.Done():
	}
	c.gate.left.Add(1) // before it can be taken off again
	if c.state.CompareAndSwap(isRunning, wasLeft) {
		var none T
		return none, fmt.Errorf("%w: %w", ErrLeft, context.Cause(ctx))
	}
	c.gate.left.Add(-1)
	<-c.done
	return c.v, c.err
}
