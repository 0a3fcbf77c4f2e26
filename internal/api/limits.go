package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// rates bound how many requests each principal sends.
type rates struct {
	limit rate.Limit
	burst int

	mu  sync.Mutex
	all map[string]*rate.Limiter
}

func newRates(limit float64, burst int) *rates {
	return &rates{limit: rate.Limit(limit), burst: burst, all: map[string]*rate.Limiter{}}
}

// mostRates is how many principals are told apart before those that are idle are forgotten.
const mostRates = 10_000

// wait is how long this principal has to wait until its next request, 0 for not at all.
func (r *rates) wait(key string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.all[key]
	if l == nil {
		if len(r.all) >= mostRates {
			clear(r.all)
		}
		l = rate.NewLimiter(r.limit, r.burst)
		r.all[key] = l
	}
	res := l.Reserve()
	if d := res.Delay(); d > 0 {
		res.Cancel()
		return d
	}
	return 0
}

// patientBody is a body that has to keep coming: something within each while, and no slower
// than slowest on the whole. It takes as long as it takes, but it does not stand still.
type patientBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience time.Duration
	began    time.Time
	n        int64
	ended    bool
	// failed is why it did not come to its end. What reads it ends with its request's
	// context, too, and may tell of that in its place.
	failed error
	// broken is true when a read failed, which nothing may want any more.
	broken bool

	mu      sync.Mutex // guards what follows
	reading bool
	// left is true when nothing wants the rest.
	left bool
}

// slowest is in bytes a second.
const slowest = 1 << 10

func (b *patientBody) Read(p []byte) (int, error) {
	if !b.begin() {
		return 0, errStopped
	}
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if artifacts.Ended(err) {
		// The server watches a connection whose body has ended for the client's leaving. A
		// deadline that runs out meanwhile would look like that, and end a request that waits.
		_ = b.control.SetReadDeadline(time.Time{})
		b.ended = true
	}
	wanted := b.end()
	if err == nil || artifacts.Ended(err) {
		return n, err
	}
	b.broken = true
	cut := problem("body_invalid", "it was cut off after %d bytes", b.n).hint("send it again")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		cut = problem("wait_timeout", "%d bytes came in %s", b.n, jobs.Duration(time.Since(b.began).Round(time.Second)))
	}
	cut.err = err
	if wanted {
		b.failed = cut
	}
	return n, cut
}

// begin sets the deadline of a read, and reports whether the body is still wanted.
func (b *patientBody) begin() bool {
	until := time.Now().Add(b.patience)
	if all := b.began.Add(b.patience + time.Duration(b.n/slowest)*time.Second); all.Before(until) {
		until = all
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left {
		return false
	}
	b.reading = true
	// Servers of tests need not know deadlines; then there are none.
	_ = b.control.SetReadDeadline(until)
	return true
}

// end reports whether what was read is still wanted.
func (b *patientBody) end() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	return !b.left
}

// leave lets no other read begin, and bounds how long the one takes that another goroutine is
// in: as long as the server waits for what is not read.
func (b *patientBody) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
	if b.reading {
		_ = b.control.SetReadDeadline(time.Now().Add(b.patience / 2))
	}
}

// unread bounds how long the rest of a body is waited for that nothing reads any more: the
// server takes it from the connection before it answers, and the answer has to go in time.
func unread(control *http.ResponseController, r *http.Request, patience time.Duration) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = control.SetReadDeadline(time.Now().Add(patience / 2))
	}
}

// patientWriter does the same for what is sent.
type patientWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

func (w patientWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.patience))
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
