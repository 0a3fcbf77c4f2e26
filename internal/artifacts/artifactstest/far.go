package artifactstest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// Far is a store that chunks go to in bundles, as producers see the store behind the farm's
// server.
type Far struct {
	artifacts.Store
	// To are the blobs of the server.
	To *artifacts.Blobs

	mu     sync.Mutex
	bundle []byte
}

// Bundle is the last one that was sent.
func (f *Far) Bundle() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bundle
}

var _ artifacts.Assembler = (*Far)(nil)

// Lacks implements artifacts.Assembler.
func (f *Far) Lacks(ctx context.Context, digests []string) ([]string, error) {
	return f.To.LacksChunks(ctx, digests)
}

// Assemble implements artifacts.Assembler.
func (f *Far) Assemble(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) error {
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	bundle, err := io.ReadAll(data)
	if err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	f.mu.Lock()
	f.bundle = bundle
	f.mu.Unlock()
	_, err = f.To.ReceiveBundle(ctx, bytes.NewReader(bundle), b.Digest, b.Size)
	return err
}
