// Package artifactstest has the suites that every artifacts.Store and
// artifacts.Source passes, and a Store in memory. Tests call it.
package artifactstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Store is an artifacts.Store in memory. The zero value is empty and ready.
type Store struct {
	mu    sync.Mutex
	blobs map[string][]byte
	puts  int
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

// Damage replaces the content of a blob, as a broken disk would.
func (s *Store) Damage(digest string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[digest] = content
}

// Stat implements artifacts.Store.
func (s *Store) Stat(ctx context.Context, digest string) (artifacts.Blob, error) {
	content, err := s.get(ctx, digest)
	if err != nil {
		return artifacts.Blob{}, err
	}
	return artifacts.Blob{Digest: digest, Size: int64(len(content))}, nil
}

// Open implements artifacts.Store.
func (s *Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	content, err := s.get(ctx, digest)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (s *Store) get(ctx context.Context, digest string) ([]byte, error) {
	if err := check(ctx, digest); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.blobs[digest]
	if !ok {
		return nil, fmt.Errorf("open artifact %s: %w", digest, artifacts.ErrNotFound)
	}
	return content, nil
}

// Put implements artifacts.Store.
func (s *Store) Put(ctx context.Context, r io.Reader) (artifacts.Blob, error) {
	content, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return artifacts.Blob{}, fmt.Errorf("put artifact: %w", err)
	}
	b := artifacts.Blob{Digest: Digest(content), Size: int64(len(content))}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs == nil {
		s.blobs = make(map[string][]byte)
	}
	if _, ok := s.blobs[b.Digest]; !ok {
		s.blobs[b.Digest] = content
	}
	s.puts++
	return b, nil
}

// Delete implements artifacts.Store.
func (s *Store) Delete(ctx context.Context, digest string) error {
	if err := check(ctx, digest); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, digest)
	return nil
}

func check(ctx context.Context, digest string) error {
	if !jobs.IsDigest(digest) {
		return fmt.Errorf("%q is not a digest", digest)
	}
	return ctx.Err()
}

// Digest is the digest of content as a Store computes it.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
