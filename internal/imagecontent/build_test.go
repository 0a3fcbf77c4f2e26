package imagecontent

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	scratch "github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// item is an entry of a layer to be built: its header and its content.
type item struct {
	tar.Header
	text string
}

func plain(name, text string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text: text}
}

func dir(name string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func symlink(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

// with changes a copy of an item.
func with(it item, change func(*item)) item {
	change(&it)
	return it
}

// archive is a layer's tar.
func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, it := range items {
		it.Size = int64(len(it.text))
		if err := w.WriteHeader(&it.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, it.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// blob is a layer of these bytes, not compressed.
func blob(text []byte) v1.Layer { return static.NewLayer(text, types.OCIUncompressedLayer) }

// packed is a layer of these bytes, which may be compressed; that of what is not
// compressed is.
func packed(t testing.TB, text []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// image has layers of these entries, the lowest first.
func image(t testing.TB, layers ...[]item) v1.Image {
	t.Helper()
	var blobs []v1.Layer
	for _, items := range layers {
		blobs = append(blobs, blob(archive(t, items...)))
	}
	return imageOf(t, blobs...)
}

func imageOf(t testing.TB, blobs ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(scratch.Image, blobs...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// later is a list of entries an hour later, so that no layer of them has the DiffID of one
// of the list: it has to be read.
func later(items []item) []item {
	items = slices.Clone(items)
	for i := range items {
		if items[i].Typeflag != tar.TypeXGlobalHeader {
			items[i].ModTime = time.Unix(3600, 0)
		}
	}
	return items
}

// replaced is a layer that claims to be another one, as when what a registry has is
// damaged.
type replaced struct {
	v1.Layer
	body func() (io.ReadCloser, error)
}

func (r replaced) Uncompressed() (io.ReadCloser, error) { return r.body() }

// instead is a layer with the names of l and these bytes.
func instead(l v1.Layer, text []byte) v1.Layer {
	return replaced{l, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}
}
