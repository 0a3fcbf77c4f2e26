// Package artifactstest has the suite that every artifacts.Store passes, and a Store
// in memory. Tests call it.
package artifactstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Store is an artifacts.Store in memory. The zero value is empty and ready.
type Store struct {
	mu    sync.Mutex
	blobs map[name]stored
	puts  int
	mark  artifacts.Mark
	want  *artifacts.Mark // nil for any
}

// name is where a blob is.
type name struct {
	place  artifacts.Place
	digest string
}

type stored struct {
	size     int64
	data     []byte
	modified time.Time
}

var _ artifacts.Store = (*Store)(nil)

// NewStore returns an empty store.
func NewStore() *Store { return &Store{} }

// Puts counts the calls of Put.
func (s *Store) Puts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}

// Len counts the blobs.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)
}

// Damage replaces the content of a blob, as a broken disk would.
func (s *Store) Damage(t testing.TB, digest string, content []byte) {
	t.Helper()
	data := Packed(t, content)
	s.change(digest, func(b *stored) { b.data = data })
}

// Age makes a blob older, wherever it is.
func (s *Store) Age(digest string, by time.Duration) {
	s.change(digest, func(b *stored) { b.modified = b.modified.Add(-by) })
}

func (s *Store) change(digest string, f func(*stored)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, b := range s.blobs {
		if n.digest == digest {
			f(&b)
			s.blobs[n] = b
		}
	}
}

// place is the store at another place.
type place struct {
	*Store
	at artifacts.Place
}

// In implements artifacts.Store.
func (s *Store) In(p artifacts.Place) artifacts.Store { return place{s, p} }

// Stat implements artifacts.Store.
func (s *Store) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	return place{s, artifacts.Wholes}.Stat(ctx, digest)
}

// Open implements artifacts.Store.
func (s *Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	return place{s, artifacts.Wholes}.Open(ctx, digest)
}

// Put implements artifacts.Store.
func (s *Store) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (made bool, err error) {
	return place{s, artifacts.Wholes}.Put(ctx, b, data)
}

// Delete implements artifacts.Store.
func (s *Store) Delete(ctx context.Context, digest string) error {
	return place{s, artifacts.Wholes}.Delete(ctx, digest)
}

// List implements artifacts.Store.
func (s *Store) List(ctx context.Context, f func(artifacts.Stored) error) error {
	return place{s, artifacts.Wholes}.List(ctx, f)
}

// Stat implements artifacts.Store.
func (s place) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	b, err := s.get(ctx, digest)
	if err != nil {
		return artifacts.Info{}, err
	}
	return artifacts.Info{Blob: artifacts.Blob{Digest: digest, Size: b.size}, Modified: b.modified}, nil
}

// Open implements artifacts.Store.
func (s place) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	b, err := s.get(ctx, digest)
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, r: bytes.NewReader(b.data)}, nil
}

// reader is an artifacts.Rewinder.
type reader struct {
	ctx context.Context
	r   *bytes.Reader
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// Close implements io.Closer.
func (*reader) Close() error { return nil }

// Rewind implements artifacts.Rewinder.
func (r *reader) Rewind(ctx context.Context) error {
	r.ctx = ctx
	_, err := r.r.Seek(0, io.SeekStart)
	return err
}

func (s place) get(ctx context.Context, digest string) (stored, error) {
	if err := check(ctx, digest); err != nil {
		return stored{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[name{s.at, digest}]
	if ok {
		return b, nil
	}
	if err := s.verify(); err != nil {
		return stored{}, err
	}
	return stored{}, fmt.Errorf("open artifact %s: %w", digest, artifacts.ErrNotFound)
}

// verify makes sure of the mark. s.mu is held.
func (s *Store) verify() error {
	if s.want != nil && !s.want.Is(s.mark) {
		return artifacts.Foreign("memory", s.mark, *s.want)
	}
	return nil
}

// Put implements artifacts.Store.
func (s place) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (made bool, err error) {
	if err := check(ctx, b.Digest); err != nil {
		return false, err
	}
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return false, fmt.Errorf("put artifact: %w", err)
	}
	all, err := io.ReadAll(data)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return false, fmt.Errorf("put artifact: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs == nil {
		s.blobs = make(map[name]stored)
	}
	s.puts++
	if _, ok := s.blobs[name{s.at, b.Digest}]; ok {
		return false, nil
	}
	if err := s.verify(); err != nil {
		return false, err
	}
	s.blobs[name{s.at, b.Digest}] = stored{b.Size, all, time.Now()}
	return true, nil
}

// List implements artifacts.Store.
func (s place) List(ctx context.Context, f func(artifacts.Stored) error) error {
	s.mu.Lock()
	if err := s.verify(); err != nil {
		s.mu.Unlock()
		return err
	}
	var all []artifacts.Stored
	for n, b := range s.blobs {
		if n.place == s.at {
			all = append(all, artifacts.Stored{Digest: n.digest, Size: int64(len(b.data)), Modified: b.modified})
		}
	}
	s.mu.Unlock()
	for _, b := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements artifacts.Store.
func (s place) Delete(ctx context.Context, digest string) error {
	if err := check(ctx, digest); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.verify(); err != nil {
		return err
	}
	delete(s.blobs, name{s.at, digest})
	return nil
}

// Mark implements artifacts.Marked.
func (s *Store) Mark(ctx context.Context) (artifacts.Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark, ctx.Err()
}

// SetMark implements artifacts.Marked.
func (s *Store) SetMark(ctx context.Context, m artifacts.Mark, over bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mark == (artifacts.Mark{}) || over {
		s.mark = m
	}
	return ctx.Err()
}

// Expect implements artifacts.Marked.
func (s *Store) Expect(m artifacts.Mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = &m
}

// Swap puts another store in its place, as an unmounted one leaves an empty
// directory. It returns how to undo that.
func (s *Store) Swap() (undo func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	blobs, mark := s.blobs, s.mark
	s.blobs, s.mark = nil, artifacts.Mark{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.blobs, s.mark = blobs, mark
	}
}

func check(ctx context.Context, digest string) error {
	if !jobs.IsDigest(digest) {
		return fmt.Errorf("%q is not a digest", digest)
	}
	return ctx.Err()
}

// Packed is content as a store is given it.
func Packed(t testing.TB, content []byte) []byte {
	t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	return enc.EncodeAll(content, nil)
}

// Digest is the digest of content as a store knows it.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
