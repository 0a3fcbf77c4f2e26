package client

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// digestFirst reads a tar that can be read twice, and returns its digest: "" for one that
// cannot, or that is compressed with something else than gzip.
func digestFirst(ctx context.Context, tar io.Reader) (string, error) {
	file, ok := tar.(io.ReadSeeker)
	if !ok {
		return "", nil
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", nil // a pipe is a file that cannot
	}
	digest, err := digestOf(ctx, file)
	if err != nil {
		return "", err
	}
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return "", fmt.Errorf("read the tar from its beginning: %w", err)
	}
	return digest, nil
}

func digestOf(ctx context.Context, r io.Reader) (string, error) {
	b := bufio.NewReaderSize(patient{ctx, r}, 64<<10)
	head, err := b.Peek(tarHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the tar: %w", err)
	}
	var content io.Reader = b
	switch {
	case isTar(head):
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(b)
		if err != nil {
			return "", nil // the farm says what is wrong with it
		}
		content = unpacked
	default:
		return "", nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		if ctx.Err() != nil || content == io.Reader(b) {
			return "", fmt.Errorf("read the tar: %w", err)
		}
		return "", nil // the farm says what is wrong with it
	}
	return written(sum), nil
}

// patient is a reader that ends with a context.
type patient struct {
	ctx context.Context //nolint:containedctx // that of the call
	io.Reader
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.Reader.Read(b)
}

const tarHeader = 512

// isTar reports whether something begins as an uncompressed tar does.
func isTar(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

func written(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
