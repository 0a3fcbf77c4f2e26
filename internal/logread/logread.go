// Package logread reads the log of a job in its order, from wherever it is: the live tail
// in Redis while the job runs, the artifact store afterwards. The enqueue command and the
// HTTP API show logs by it.
package logread

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Place is a place in the log of a job: behind so many bytes of the framed log of an
// attempt. The zero value is before all of it.
type Place struct {
	Attempt int
	Offset  int64
}

// String is <attempt>:<offset>.
func (p Place) String() string { return fmt.Sprintf("%d:%d", p.Attempt, p.Offset) }

// ParsePlace reads what String writes, "" for the beginning.
func ParsePlace(text string) (Place, error) {
	if text == "" {
		return Place{}, nil
	}
	a, o, _ := strings.Cut(text, ":")
	attempt, err1 := strconv.Atoi(a)
	offset, err2 := strconv.ParseInt(o, 10, 64)
	signed := strings.ContainsAny(text, "+-")
	if err1 != nil || err2 != nil || signed || attempt < 1 || offset < 0 {
		return Place{}, fmt.Errorf("%w: %q is no place in a log; want <attempt>:<offset>, such as 1:4096", jobs.ErrInvalid, jobs.Clip(text))
	}
	return Place{attempt, offset}, nil
}

// Sink takes the log of a job. Anything wrong with the log is told to it, too: what became
// of the job does not hang on it.
type Sink interface {
	// Attempt tells that the log of another attempt begins.
	Attempt(n int)
	// Frame takes a frame; behind is the place after it.
	Frame(f jobs.Frame, behind Place)
	// Gap tells that so many bytes are missing, -1 for an unknown number, and why if that
	// is known.
	Gap(n int64, why error)
	// Unreadable tells that a part of the live log is no log.
	Unreadable(err error)
	// Deferred tells that the rest comes when the job has ended; see [Reader].Whole.
	Deferred()
}

// Reader gives a [Sink] each byte of a job's log once, or tells of the gap where it would
// have been. It belongs to one goroutine.
type Reader struct {
	// Get reads the job, Store opens the artifact store.
	Get   func(ctx context.Context) (jobs.Job, error)
	Store func(ctx context.Context) (*artifacts.Blobs, error)
	Sink  Sink
	// Whole puts off what the live tail has lost to the end of the job, when the store has
	// all of it, instead of going on behind a gap.
	Whole bool
	// At is the place up to which the sink has everything, or was told of a gap.
	At Place
	// deferred is true while output is put off.
	deferred bool
}

// Chunk hands on the part of a piece of live log that the sink does not have.
func (r *Reader) Chunk(ctx context.Context, c jobs.LogChunk) {
	if c.Attempt < r.At.Attempt {
		return
	}
	r.begin(c.Attempt)
	if c.Offset > r.At.Offset && !r.deferred {
		r.fill(ctx, c.Offset)
	}
	end := c.Offset + int64(len(c.Data))
	if r.deferred || end <= r.At.Offset {
		return
	}
	r.frames(unseen(c.Data, r.At.Offset-c.Offset), end)
	r.At.Offset = end
}

// frames hands on whole frames that end at a byte of the log.
func (r *Reader) frames(data []byte, end int64) {
	at := end - int64(len(data))
	for frames := jobs.NewFrameReader(bytes.NewReader(data)); ; {
		f, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.Sink.Unreadable(err)
			return
		}
		at += int64(jobs.FrameHeader + len(f.Data))
		r.Sink.Frame(f, Place{r.At.Attempt, at})
	}
}

// unseen is data, a run of whole frames, without its first n bytes. A frame that was
// seen in part is whole again: a worker that lost its copy of the log reads it anew
// from the engine, in other pieces.
func unseen(data []byte, n int64) []byte {
	for n > 0 && len(data) >= jobs.FrameHeader {
		size := int64(jobs.FrameHeader) + int64(binary.BigEndian.Uint32(data[jobs.FrameHeader-4:]))
		if size > n || size > int64(len(data)) {
			break
		}
		data, n = data[size:], n-size
	}
	return data
}

// begin moves to an attempt; a later one has a log of its own.
func (r *Reader) begin(attempt int) {
	if attempt == r.At.Attempt {
		return
	}
	if r.At.Attempt != 0 {
		if r.deferred {
			r.Sink.Gap(-1, nil)
		}
		r.Sink.Attempt(attempt)
	}
	r.At, r.deferred = Place{Attempt: attempt}, false
}

// Rest hands on what an ended job's log has beyond the live tail.
func (r *Reader) Rest(ctx context.Context, job jobs.Job) {
	res := job.Result
	if res == nil || res.Log.Digest == "" {
		if r.deferred {
			r.Sink.Gap(-1, errors.New("the log was not stored"))
		}
		return
	}
	r.begin(max(res.Attempt, r.At.Attempt))
	r.deferred = false
	if res.Log.Size > r.At.Offset {
		r.fill(ctx, res.Log.Size)
	}
}

// fill hands on the bytes up to offset end that the live tail no longer has: from the
// artifact store when the job has ended, else the sink is told of a gap.
func (r *Reader) fill(ctx context.Context, end int64) {
	var reason error
	job, err := r.Get(ctx)
	res := job.Result
	if err == nil && res != nil && res.Attempt == r.At.Attempt && res.Log.Digest != "" && res.Log.Size > r.At.Offset {
		reason = r.FromStore(ctx, res.Log.Digest, end)
		err = reason
	}
	switch {
	case r.At.Offset >= end:
	case r.Whole && err == nil && res == nil:
		r.deferred = true
		r.Sink.Deferred()
	default:
		r.Sink.Gap(end-r.At.Offset, reason)
		r.At.Offset = end
	}
}

// FromStore hands on the stored log from the place At up to offset end, -1 for all of it.
func (r *Reader) FromStore(ctx context.Context, digest string, end int64) error {
	store, err := r.Store(ctx)
	if err != nil {
		return err
	}
	blob, err := store.Read(ctx, digest)
	if err != nil {
		return fmt.Errorf("open the stored log: %w", err)
	}
	defer blob.Close() // only read
	at := int64(0)
	for frames := jobs.NewFrameReader(blob); end < 0 || at < end; {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the stored log: %w", err)
		}
		if at += int64(jobs.FrameHeader + len(frame.Data)); at > r.At.Offset {
			r.At.Offset = at
			r.Sink.Frame(frame, r.At)
		}
	}
	return nil
}
