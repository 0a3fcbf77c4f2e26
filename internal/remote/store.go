package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Store is the farm's artifact store behind its server. It deletes and lists nothing, and has
// no mark: the server makes sure that it is the farm's.
type Store struct {
	farm  *Farm
	place artifacts.Place
}

var (
	_ artifacts.Store     = Store{}
	_ artifacts.Assembler = Store{}
)

// Store is the farm's artifact store.
func (f *Farm) Store() Store { return Store{f, artifacts.Wholes} }

// In implements artifacts.Store.
func (s Store) In(p artifacts.Place) artifacts.Store { return Store{s.farm, p} }

// path is where an artifact is read.
func (s Store) path(digest string) string {
	if s.place == artifacts.Indexes {
		return chunksOf(digest)
	}
	return "/v1/blobs/" + url.PathEscape(digest)
}

func chunksOf(digest string) string { return "/v1/contexts/" + url.PathEscape(digest) + "/chunks" }

// Lacks implements artifacts.Assembler.
func (s Store) Lacks(ctx context.Context, digests []string) ([]string, error) {
	var got struct {
		Lacks []string `json:"lacks"`
	}
	err := s.farm.call(ctx, request{method: http.MethodPost, path: "/v1/chunks/lacking", doc: map[string]any{"digests": digests}, again: true}, &got)
	return got.Lacks, err
}

// Assemble implements artifacts.Assembler.
func (s Store) Assemble(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) error {
	_, err := s.put(ctx, chunksOf(b.Digest), data)
	return err
}

// Stat implements artifacts.Store. The server pins what is there, so that it counts as young.
func (s Store) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	var got struct {
		Size int64 `json:"size"`
	}
	err := s.farm.call(ctx, request{method: http.MethodGet, path: "/v1/contexts/" + url.PathEscape(digest), again: true}, &got)
	if err != nil {
		return artifacts.Info{}, notStored(digest, err)
	}
	return artifacts.Info{Blob: artifacts.Blob{Digest: digest, Size: got.Size}, Modified: time.Now()}, nil
}

func notStored(digest string, err error) error {
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: %s", artifacts.ErrNotFound, digest)
	}
	return err
}

// Open implements artifacts.Store.
func (s Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	resp, err := s.farm.send(ctx, request{method: http.MethodGet, path: s.path(digest), again: true})
	if err != nil {
		return nil, notStored(digest, err)
	}
	return resp.Body, nil
}

// Put implements artifacts.Store.
func (s Store) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (bool, error) {
	return s.put(ctx, s.path(b.Digest), data)
}

func (s Store) put(ctx context.Context, path string, data io.ReadSeeker) (made bool, err error) {
	for try := 1; ; try++ {
		if _, err := data.Seek(0, io.SeekStart); err != nil {
			return false, fmt.Errorf("read the artifact from its start: %w", err)
		}
		var got struct {
			Existed bool `json:"existed"`
		}
		// The transport closes what can be closed, and the data is the caller's.
		err := s.farm.call(ctx, request{method: http.MethodPut, path: path, body: io.NopCloser(data)}, &got)
		if err == nil {
			return !got.Existed, nil
		}
		if !unreachable(err) || try == tries || ctx.Err() != nil {
			return false, err
		}
		select {
		case <-time.After(time.Duration(try) * 500 * time.Millisecond):
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// errHere is for what only those do who have the store itself.
var errHere = errors.New("the artifact store is behind the farm's server, which does this itself")

func unreachable(err error) bool {
	return errors.Is(err, ErrServer) || errors.Is(err, jobs.ErrUnreachable)
}

// Mark implements artifacts.Marked.
func (Store) Mark(context.Context) (artifacts.Mark, error) { return artifacts.Mark{}, nil }

// SetMark implements artifacts.Marked.
func (Store) SetMark(context.Context, artifacts.Mark, bool) error { return errHere }

// Expect implements artifacts.Marked.
func (Store) Expect(artifacts.Mark) {}

// Delete implements artifacts.Store.
func (Store) Delete(context.Context, string) error { return errHere }

// List implements artifacts.Store.
func (Store) List(context.Context, func(artifacts.Stored) error) error { return errHere }
