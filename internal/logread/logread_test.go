package logread

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// noted is what a sink was told, a line each.
type noted []string

func (n *noted) Attempt(i int) { *n = append(*n, fmt.Sprint("attempt ", i)) }
func (n *noted) Frame(f jobs.Frame, behind Place) {
	*n = append(*n, string(f.Data)+" "+behind.String())
}

func (n *noted) Gap(size int64, why error) { *n = append(*n, fmt.Sprint("gap ", size, " ", why)) }
func (n *noted) Unreadable(err error)      { *n = append(*n, err.Error()) }
func (n *noted) Deferred()                 { *n = append(*n, "deferred") }

func frame(text string) []byte {
	return jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Unix(1, 0), Data: []byte(text)})
}

// log is a log of four frames of 20 bytes each.
func log() []byte {
	return slices.Concat(frame("frame-1"), frame("frame-2"), frame("frame-3"), frame("frame-4"))
}

func chunk(attempt int, from, to int64) jobs.LogChunk {
	return jobs.LogChunk{Attempt: attempt, Offset: from, Data: log()[from:to]}
}

func TestReader(t *testing.T) {
	t.Parallel()
	store, err := dirstore.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blobs := artifacts.NewBlobs(store, "")
	blob, err := blobs.Write(t.Context(), bytes.NewReader(log()))
	if err != nil {
		t.Fatal(err)
	}
	ended := jobs.Job{Result: &jobs.Result{Attempt: 1, Log: jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}}}
	second := ended
	second.Result = &jobs.Result{Attempt: 2, Log: ended.Result.Log}
	for _, tt := range []struct {
		name string
		read func(ctx context.Context, r *Reader)
		job  jobs.Job
		want noted
	}{
		{"a live log", func(ctx context.Context, r *Reader) {
			r.Chunk(ctx, chunk(1, 0, 40))
			r.Chunk(ctx, chunk(1, 40, 80))
		}, jobs.Job{}, noted{"frame-1 1:20", "frame-2 1:40", "frame-3 1:60", "frame-4 1:80"}},
		{"chunks that overlap or repeat", func(ctx context.Context, r *Reader) {
			r.Chunk(ctx, chunk(1, 0, 40))
			r.Chunk(ctx, chunk(1, 0, 40))
			r.Chunk(ctx, chunk(1, 20, 60))
		}, jobs.Job{}, noted{"frame-1 1:20", "frame-2 1:40", "frame-3 1:60"}},
		{"from a place", func(ctx context.Context, r *Reader) {
			r.At = Place{1, 40}
			r.Chunk(ctx, chunk(1, 0, 80))
		}, jobs.Job{}, noted{"frame-3 1:60", "frame-4 1:80"}},
		{"a gap while the job runs", func(ctx context.Context, r *Reader) { r.Chunk(ctx, chunk(1, 40, 60)) }, jobs.Job{}, noted{"gap 40 <nil>", "frame-3 1:60"}},
		{"a gap that the store fills", func(ctx context.Context, r *Reader) {
			r.Chunk(ctx, chunk(1, 40, 60))
			r.Rest(ctx, ended)
		}, ended, noted{"frame-1 1:20", "frame-2 1:40", "frame-3 1:60", "frame-4 1:80"}},
		{"what is put off", func(ctx context.Context, r *Reader) {
			r.Whole = true
			r.Chunk(ctx, chunk(1, 0, 20))
			r.Chunk(ctx, chunk(1, 40, 60))
			r.Chunk(ctx, chunk(1, 60, 80))
		}, jobs.Job{}, noted{"frame-1 1:20", "deferred"}},
		{"another attempt", func(ctx context.Context, r *Reader) {
			r.Chunk(ctx, chunk(1, 0, 20))
			r.Chunk(ctx, chunk(2, 0, 20))
			r.Chunk(ctx, chunk(1, 20, 40)) // comes too late
			r.Rest(ctx, second)
		}, second, noted{"frame-1 1:20", "attempt 2", "frame-1 2:20", "frame-2 2:40", "frame-3 2:60", "frame-4 2:80"}},
		{"no log", func(ctx context.Context, r *Reader) {
			r.Chunk(ctx, jobs.LogChunk{Attempt: 1, Data: bytes.Repeat([]byte{0xff}, 20)})
		}, jobs.Job{}, noted{"read log frame: 4294967295 bytes, the limit is 1048576: not a log"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got noted
			r := &Reader{
				Sink:  &got,
				Get:   func(context.Context) (jobs.Job, error) { return tt.job, nil },
				Store: func(context.Context) (*artifacts.Blobs, error) { return blobs, nil },
			}
			tt.read(t.Context(), r)
			if !slices.Equal(got, tt.want) {
				t.Errorf("the sink was told\n%q\nwant\n%q", got, tt.want)
			}
		})
	}
}

// A log that was put off and never stored is a gap of an unknown size.
func TestNeverStored(t *testing.T) {
	t.Parallel()
	var got noted
	r := &Reader{Sink: &got, Whole: true, Get: func(context.Context) (jobs.Job, error) { return jobs.Job{}, nil }}
	r.Chunk(t.Context(), chunk(1, 20, 40))
	r.Rest(t.Context(), jobs.Job{Result: &jobs.Result{Attempt: 1}})
	if want := (noted{"deferred", "gap -1 the log was not stored"}); !slices.Equal(got, want) {
		t.Errorf("the sink was told %q; want %q", got, want)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Place{"": {}, "1:0": {1, 0}, "12:4096": {12, 4096}} {
		if got, err := ParsePlace(text); err != nil || got != want || text != "" && got.String() != text {
			t.Errorf("ParsePlace(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"1", ":", "0:0", "1:-1", "-1:1", "1:x", "1:2:3", "1: 2", "99999999999999999999:1"} {
		if got, err := ParsePlace(text); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("ParsePlace(%q) = %v, %v; want ErrInvalid", text, got, err)
		}
	}
}
