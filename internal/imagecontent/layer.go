package imagecontent

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layer is a layer of an image with what the image's config says about it.
type layer struct {
	blob   v1.Layer
	diffID v1.Hash // of the archive, not compressed
	name   string  // for messages: "layer 2 of 5 (sha256:...)"
}

// layersOf lists the layers of an image, the lowest first. It reads none of them: the
// DiffIDs are the config's.
func layersOf(img v1.Image) ([]layer, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the config of an image: %w", err)
	}
	blobs, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("list the layers of an image: %w", err)
	}
	ids := config.RootFS.DiffIDs
	if len(ids) != len(blobs) {
		return nil, fmt.Errorf("list the layers of an image: its config names %d, its manifest %d", len(ids), len(blobs))
	}
	layers := make([]layer, len(blobs))
	for i, blob := range blobs {
		layers[i] = layer{blob: blob, diffID: ids[i], name: fmt.Sprintf("layer %d of %d (%s)", i+1, len(blobs), ids[i])}
	}
	return layers, nil
}

// entry is one entry of a layer's archive.
type entry struct {
	*tar.Header
	path    string // cleaned: "usr/bin/sh", "" for the root
	content io.Reader
	buf     []byte // to copy with; one for all entries
}

// entries yields the entries of a layer in the order of its archive; each is good until
// the next. After the last one it reads on to the end of the layer and checks that all of
// it has the DiffID that the config names: an archive that was cut off between two entries
// looks complete otherwise. An error is the last thing that it yields.
func (l layer) entries(ctx context.Context) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		if err := l.read(ctx, func(e entry) bool { return yield(e, nil) }); err != nil {
			yield(entry{}, fmt.Errorf("read %s: %w", l.name, err))
		}
	}
}

// read calls visit with each entry until it returns false.
func (l layer) read(ctx context.Context, visit func(entry) bool) error {
	body, err := l.blob.Uncompressed()
	if err != nil {
		return err
	}
	defer body.Close()
	sum := sha256.New()
	in := io.TeeReader(readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return body.Read(p)
	}), sum)
	buf := make([]byte, 32<<10)
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue // what unpacks layers leaves it out, too
		}
		if !visit(entry{Header: header, path: clean(header.Name), content: archive, buf: buf}) {
			return nil
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	if got := (v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}); got != l.diffID {
		return fmt.Errorf("its content is %s, which the config does not name", got)
	}
	return nil
}

// hasEntries reports whether a layer has any; it reads no further than the first.
func (l layer) hasEntries(ctx context.Context) (bool, error) {
	for _, err := range l.entries(ctx) {
		return err == nil, err
	}
	return false, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// clean is a path of an archive without "./", "/" and ".." at its beginning, as the
// daemon unpacks it.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// above yields the directories that a cleaned path is in, the nearest first and the root
// last.
func above(p string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for p != "" {
			p = p[:max(strings.LastIndexByte(p, '/'), 0)]
			if !yield(p) {
				return
			}
		}
	}
}
