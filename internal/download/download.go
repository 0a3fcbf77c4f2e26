// Package download reads something from a server to its end: a transfer that breaks
// or stalls goes on where it was, or begins anew where the server cannot do that.
// Context sources and the S3 store use it.
package download

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Transfer is how a source downloads something: a transfer that breaks or
// stalls is resumed, or begun again when the server cannot resume.
type Transfer struct {
	// Open starts to download at a byte. A *jobs.Failure and a [Final] error are
	// final, any other error is tried again.
	Open func(ctx context.Context, offset int64) (Part, error)
	// Stall is how long nothing may come; 0 means 30 s.
	Stall time.Duration
	// Tries is how often in a row it may fail without getting any further; 0
	// means 5.
	Tries int
	// Pause is the first pause between two tries, which then doubles; 0 means
	// half a second.
	Pause time.Duration
	// What is transferred, "" for the context, and the Kind of its failure, ""
	// for KindContextFetch.
	What string
	Kind jobs.Kind
}

// Part is a download under way.
type Part struct {
	Body io.ReadCloser
	// Offset is the byte that Body starts at: the one that was asked for, or 0.
	Offset int64
	// Size is how many bytes there are in all, -1 when that is not known.
	Size int64
}

// RetryAfter is an error of a server that says when to come back.
type RetryAfter struct {
	After time.Duration
	Err   error
}

func (e *RetryAfter) Error() string { return e.Err.Error() }

// Unwrap returns what the server said besides.
func (e *RetryAfter) Unwrap() error { return e.Err }

// ParseRetryAfter reads the header of that name, which holds seconds or a date; 0
// when it says nothing.
func ParseRetryAfter(header string) time.Duration {
	if n, err := strconv.Atoi(header); err == nil && n > 0 {
		return time.Duration(min(n, 1<<20)) * time.Second
	}
	if t, err := http.ParseTime(header); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// Final marks an error of Transfer.Open that another try would not mend.
func Final(err error) error { return finalError{err} }

type finalError struct{ error }

// longestWait is how long a server may keep a transfer waiting at once.
const longestWait = 2 * time.Minute

var errStalled = errors.New("nothing came for too long")

// Start makes the first connection, so that a reference that leads to nothing
// fails here.
func (t Transfer) Start(ctx context.Context) (io.ReadCloser, error) {
	ctx, quit := context.WithCancelCause(ctx)
	d := &download{t: t, ctx: ctx, quit: quit, total: -1}
	d.t.Stall = cmp.Or(t.Stall, 30*time.Second)
	d.t.Tries = cmp.Or(t.Tries, 5)
	d.t.What, d.t.Kind = cmp.Or(t.What, "the context"), cmp.Or(t.Kind, jobs.KindContextFetch)
	d.pause = backoff.NewExponentialBackOff()
	d.pause.InitialInterval = cmp.Or(t.Pause, 500*time.Millisecond)
	d.pause.MaxInterval = 10 * time.Second
	d.pause.Reset()
	d.sum.SetSeed(maphash.MakeSeed())
	if err := d.connect(); err != nil {
		quit(nil)
		return nil, err
	}
	return d, nil
}

// download belongs to one goroutine, but for Close.
type download struct {
	t    Transfer
	ctx  context.Context //nolint:containedctx // that of the reader's owner, until Close
	quit context.CancelCauseFunc
	mu   sync.Mutex // held by Read; Close ends a Read before it takes it

	body   io.ReadCloser // nil while there is no connection
	cancel context.CancelCauseFunc
	timer  *time.Timer
	// n is how much was handed on, sum what that was, total how much there is.
	n, total int64
	sum      maphash.Hash
	failures int
	pause    *backoff.ExponentialBackOff
	err      error
}

// Read implements io.Reader. Errors are *jobs.Failure.
func (d *download) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.err == nil {
		if err := d.ctx.Err(); err != nil {
			// The rest may be here already, and would come without an error.
			if d.body != nil {
				d.drop()
			}
			d.err = d.failed(err)
			break
		}
		if d.body == nil {
			if d.err = d.connect(); d.err != nil {
				break
			}
		}
		n, err := d.part(p)
		if n > 0 {
			d.n += int64(n)
			_, _ = d.sum.Write(p[:n])
			d.failures = 0
			d.pause.Reset()
		}
		switch {
		case ended(err) && d.total >= 0 && d.n < d.total:
			err = fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, d.n, d.total)
		case ended(err):
			d.err = err
			return n, err
		}
		if err != nil {
			d.drop()
			d.err = d.failed(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// part reads from the connection, which may not stall.
func (d *download) part(p []byte) (int, error) {
	d.timer.Reset(d.t.Stall)
	n, err := d.body.Read(p)
	d.timer.Stop()
	return n, err
}

// connect opens a connection for what is missing, and tries again.
func (d *download) connect() error {
	for {
		err := d.open()
		if err == nil {
			return nil
		}
		d.drop()
		if err := d.failed(err); err != nil {
			return err
		}
	}
}

func (d *download) open() error {
	ctx, cancel := context.WithCancelCause(d.ctx)
	d.cancel = cancel
	d.timer = time.AfterFunc(d.t.Stall, func() { cancel(errStalled) })
	part, err := d.t.Open(ctx, d.n)
	if err != nil {
		d.timer.Stop()
		return err
	}
	d.body, d.total = part.Body, part.Size
	if part.Offset == d.n {
		d.timer.Stop()
		return nil
	}
	return d.skip()
}

// skip reads what was handed on already, which has to be the same again.
func (d *download) skip() error {
	var again maphash.Hash
	again.SetSeed(d.sum.Seed())
	buf := make([]byte, 64<<10)
	for left := d.n; left > 0; {
		n, err := d.part(buf[:min(left, int64(len(buf)))])
		_, _ = again.Write(buf[:n])
		left -= int64(n)
		if ended(err) && left > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && left > 0 {
			return err
		}
	}
	if again.Sum64() != d.sum.Sum64() {
		return jobs.Fail(d.t.Kind, nil, "try again when it does not change any more", "%s changed at its source while it was fetched", d.t.What)
	}
	return nil
}

// drop ends the connection.
func (d *download) drop() {
	d.cancel(nil)
	d.timer.Stop()
	if d.body != nil {
		_ = d.body.Close()
		d.body = nil
	}
}

// failed waits before the next try, or returns the failure that ends it.
func (d *download) failed(err error) error {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	if f, ok := errors.AsType[finalError](err); ok {
		return f.error
	}
	if d.ctx.Err() != nil {
		return d.stopped()
	}
	d.failures++
	if d.failures >= d.t.Tries {
		return jobs.Fail(d.t.Kind, err, "try again later; if it stays, look at the server that it comes from", "%s could not be fetched: %s, %d times in a row", d.t.What, d.what(err), d.failures)
	}
	wait := d.pause.NextBackOff()
	if later, ok := errors.AsType[*RetryAfter](err); ok {
		if wait = max(wait, later.After); wait > longestWait {
			return jobs.Fail(d.t.Kind, err, "try again later", "%s could not be fetched: the server asks to come back in %s", d.t.What, jobs.Duration(wait))
		}
	}
	select {
	case <-time.After(wait):
		return nil
	case <-d.ctx.Done():
		return d.stopped()
	}
}

// stopped is the failure of a transfer whose context ended, which says nothing against
// the server, whatever Kind is.
func (d *download) stopped() *jobs.Failure {
	cause := context.Cause(d.ctx)
	if f, ok := errors.AsType[*jobs.Failure](cause); ok {
		return f
	}
	return jobs.Fail(jobs.KindContextFetch, cause, "try again; if it stays, ask the operator to look at the worker's log", "%s could not be fetched", d.t.What)
}

// what says of an error what a person can do something with.
func (d *download) what(err error) string {
	var said *RetryAfter
	switch {
	case errors.As(err, &said):
		text, _, _ := strings.Cut(said.Error(), "\n")
		return text
	case errors.Is(err, errStalled), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("nothing came for %s after byte %d", jobs.Duration(d.t.Stall), d.n)
	case errors.Is(err, io.ErrUnexpectedEOF) && d.total >= 0:
		return fmt.Sprintf("the connection ended after %d of %d bytes", d.n, d.total)
	}
	return fmt.Sprintf("the connection failed after byte %d", d.n)
}

// Close implements io.Closer; a Read that is under way ends.
func (d *download) Close() error {
	d.quit(errClosed)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.body != nil {
		d.drop()
	}
	d.err = errClosed
	return nil
}

var errClosed = errors.New("the transfer is closed")

// ended tells the end of a body from an error, which may have io.EOF in its chain.
func ended(err error) bool { return err == io.EOF } //nolint:errorlint // that would be no end
