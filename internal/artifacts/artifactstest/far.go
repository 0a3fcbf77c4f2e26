package artifactstest

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/slipway-farm/slipway/internal/artifacts"
)

// Far is a store that chunks go to in bundles, as producers see the store behind the farm's
// server.
type Far struct {
	artifacts.Store
	// To are the blobs of the server.
	To *artifacts.Blobs
	// Bundle is the last one that was sent.
	Bundle []byte
}

var _ artifacts.Assembler = (*Far)(nil)

// Lacks implements artifacts.Assembler.
func (f *Far) Lacks(ctx context.Context, digests []string) ([]string, error) {
	return f.To.LacksChunks(ctx, digests)
}

// Assemble implements artifacts.Assembler.
func (f *Far) Assemble(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (err error) {
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	if f.Bundle, err = io.ReadAll(data); err != nil {
		return fmt.Errorf("read the bundle: %w", err)
	}
	_, err = f.To.ReceiveBundle(ctx, bytes.NewReader(f.Bundle), b.Digest, b.Size)
	return err
}
