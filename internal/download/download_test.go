package download_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// answer is one connection of a server.
type answer struct {
	// from is the byte that the body starts at, text what it has before it ends
	// with err, nil for a good end.
	from int
	text string
	err  error
	// size is announced, -1 for unknown.
	size int64
	// refused is in place of a body.
	refused error
	// stalls is how long the body takes for its last byte.
	stalls time.Duration
}

// stalling waits after its first bytes, as a reader of a connection would.
type stalling struct {
	io.Reader
	ctx  context.Context // that of the connection
	wait time.Duration
}

func (s *stalling) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if n > 0 || s.wait == 0 {
		return n, err
	}
	select {
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	case <-time.After(s.wait):
		s.wait = 0
		return 0, err
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	const whole = "0123456789"
	broken := errors.New("connection reset")
	busy := func(after time.Duration) error {
		return &download.RetryAfter{After: after, Err: errors.New("the server is busy")}
	}
	rest := func(from int) answer { return answer{from: from, text: whole[from:], size: 10} }
	for _, tt := range []struct {
		name    string
		answers []answer
		// offsets are what is asked for, one connection after the other.
		offsets []int64
		got     string
		says    string // the failure's message
		kind    jobs.Kind
		// took bounds the virtual time.
		atLeast, atMost time.Duration
	}{
		{name: "at once", answers: []answer{rest(0)}, offsets: []int64{0}, got: whole},
		{name: "of unknown size", answers: []answer{{text: whole, size: -1}}, offsets: []int64{0}, got: whole},
		{name: "resumed", answers: []answer{{text: whole[:7], err: broken, size: 10}, rest(7)}, offsets: []int64{0, 7}, got: whole},
		{name: "ends too early, resumed", answers: []answer{{text: whole[:9], size: 10}, rest(9)}, offsets: []int64{0, 9}, got: whole},
		{name: "begun again", answers: []answer{{text: whole[:7], err: broken, size: 10}, rest(0)}, offsets: []int64{0, 7}, got: whole},
		{
			name: "begun again, and another", answers: []answer{{text: whole[:7], err: broken, size: 10}, {text: "012x456789", size: 10}}, offsets: []int64{0, 7},
			got: whole[:7], kind: jobs.KindContextFetch, says: "changed at its source",
		},
		{name: "begun again, and shorter", answers: []answer{{text: whole[:7], err: broken, size: 10}, {text: whole[:3], size: -1}, rest(7)}, offsets: []int64{0, 7, 7}, got: whole},
		{name: "stalls", answers: []answer{{text: whole[:4], size: 10, stalls: time.Hour}, rest(4)}, offsets: []int64{0, 4}, got: whole, atLeast: 3 * time.Second, atMost: 10 * time.Second},
		{name: "slow, and good", answers: []answer{{text: whole, size: 10, stalls: 2 * time.Second}}, offsets: []int64{0}, got: whole, atLeast: 2 * time.Second, atMost: 3 * time.Second},
		{name: "breaks always", answers: []answer{{refused: broken}, {refused: broken}, {refused: broken}}, offsets: []int64{0, 0, 0}, kind: jobs.KindContextFetch, says: "the connection failed after byte 0, 3 times in a row"},
		{name: "gets further each time", answers: []answer{
			{text: "0", err: broken, size: 10}, {from: 1, text: "1", err: broken, size: 10}, {from: 2, text: "2", err: broken, size: 10}, {from: 3, text: "3", err: broken, size: 10}, rest(4),
		}, offsets: []int64{0, 1, 2, 3, 4}, got: whole},
		{
			name: "stalls always", answers: []answer{{text: "0", size: 10, stalls: time.Hour}, {from: 1, size: 10, stalls: time.Hour}, {from: 1, size: 10, stalls: time.Hour}}, offsets: []int64{0, 1, 1},
			got: "0", kind: jobs.KindContextFetch, says: "nothing came for 3s after byte 1",
		},
		{name: "comes back when asked to", answers: []answer{{refused: busy(time.Minute)}, rest(0)}, offsets: []int64{0, 0}, got: whole, atLeast: time.Minute, atMost: 61 * time.Second},
		{name: "does not wait for hours", answers: []answer{{refused: busy(time.Hour)}}, offsets: []int64{0}, kind: jobs.KindContextFetch, says: "asks to come back in 1h", atMost: time.Second},
		{name: "busy always", answers: []answer{{refused: busy(0)}, {refused: busy(0)}, {refused: busy(0)}}, offsets: []int64{0, 0, 0}, kind: jobs.KindContextFetch, says: "the server is busy, 3 times"},
		{name: "refused", answers: []answer{{refused: jobs.Fail(jobs.KindContextDenied, nil, "ask", "no")}}, offsets: []int64{0}, kind: jobs.KindContextDenied, says: "no"},
		{name: "refused when resumed", answers: []answer{{text: "01", err: broken, size: 10}, {refused: jobs.Fail(jobs.KindContextNotFound, nil, "ask", "gone")}}, offsets: []int64{0, 2}, got: "01", kind: jobs.KindContextNotFound, says: "gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var offsets []int64
				start := time.Now()
				r, err := download.Transfer{Stall: 3 * time.Second, Tries: 3, Open: func(ctx context.Context, offset int64) (download.Part, error) {
					if len(offsets) == len(tt.answers) {
						t.Fatalf("asked once more, for byte %d", offset)
					}
					a := tt.answers[len(offsets)]
					offsets = append(offsets, offset)
					if a.refused != nil {
						return download.Part{}, a.refused
					}
					body := io.Reader(strings.NewReader(a.text))
					if a.err != nil {
						body = io.MultiReader(body, iotest.ErrReader(a.err))
					}
					return download.Part{Body: io.NopCloser(&stalling{body, ctx, a.stalls}), Offset: int64(a.from), Size: a.size}, nil
				}}.Start(t.Context())
				var got []byte
				if err == nil {
					got, err = io.ReadAll(r)
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}
				took := time.Since(start)
				if string(got) != tt.got || fmt.Sprint(offsets) != fmt.Sprint(tt.offsets) {
					t.Errorf("got %q from offsets %v, want %q from %v", got, offsets, tt.got, tt.offsets)
				}
				if tt.kind == "" && err != nil {
					t.Error(err)
				}
				if tt.kind != "" {
					jobstest.CheckFailure(t, err, tt.kind, tt.says)
				}
				if took < tt.atLeast || tt.atMost > 0 && took > tt.atMost {
					t.Errorf("it took %s, want %s to %s", took, tt.atLeast, tt.atMost)
				}
			})
		})
	}
}

// TestTransferEnds: a caller that gave up does not wait for a server.
func TestTransferEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("out of patience"))
		defer cancel()
		start := time.Now()
		_, err := download.Transfer{Open: func(context.Context, int64) (download.Part, error) {
			return download.Part{}, &download.RetryAfter{After: time.Minute, Err: errors.New("busy")}
		}}.Start(ctx)
		jobstest.CheckFailure(t, err, jobs.KindContextFetch, "could not be fetched")
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %s", took)
		}
	})
	r, err := download.Transfer{Open: func(context.Context, int64) (download.Part, error) {
		return download.Part{Body: io.NopCloser(bytes.NewReader([]byte("x"))), Size: 1}, nil
	}}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read after Close: %d bytes, %v", n, err)
	}
}

// TestCloseEndsARead: a caller that closes does not wait for a connection, and none is
// opened afterwards.
func TestCloseEndsARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opens := 0
		r, err := download.Transfer{Open: func(ctx context.Context, offset int64) (download.Part, error) {
			opens++
			return download.Part{Body: io.NopCloser(&stalling{strings.NewReader(""), ctx, time.Hour}), Offset: offset, Size: 10}, nil
		}}.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := r.Read(make([]byte, 10))
			done <- err
		}()
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read ended with %v", err)
		}
		if _, err := r.Read(make([]byte, 10)); err == nil || opens != 1 {
			t.Errorf("Read after Close: %v, %d connections", err, opens)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for header, want := range map[string]time.Duration{
			"": 0, "3": 3 * time.Second, "0": 0, "-5": 0, "soon": 0, "99999999999": (1 << 20) * time.Second, "999999999999999999999": 0,
			time.Now().UTC().Add(90 * time.Second).Format("Mon, 02 Jan 2006 15:04:05 GMT"): 90 * time.Second,
			"Wed, 21 Oct 1998 07:28:00 GMT": 0,
		} {
			if got := download.ParseRetryAfter(header); got != want {
				t.Errorf("%q: got %s, want %s", header, got, want)
			}
		}
	})
}

// A reading ends with its context also when all that is missing is here already.
func TestTransferEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := download.Transfer{Open: func(context.Context, int64) (download.Part, error) {
		return download.Part{Body: io.NopCloser(strings.NewReader("all of it")), Size: 9}, nil
	}}.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.Read(make([]byte, 3)); n != 3 || err != nil {
		t.Fatalf("Read = %d, %v", n, err)
	}
	cancel()
	if rest, err := io.ReadAll(r); !errors.Is(err, context.Canceled) || len(rest) > 0 {
		t.Errorf("%q was read after the end, %v; want context.Canceled", rest, err)
	}
}
