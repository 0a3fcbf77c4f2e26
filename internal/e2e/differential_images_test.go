//go:build integration

package e2e_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// image is what two builds of the same directory have to agree on.
type image struct {
	// Layers are the entries of each layer, sorted by name.
	Layers [][]entry
	// Config is all of the image's config but for what alike takes out.
	Config map[string]any
}

// entry is a file of a layer.
type entry struct {
	Name, Type, Link string
	Mode             int64
	UID, GID         int
	Size             int64
	Digest           string
	// Records are PAX records, among them the extended attributes.
	Records map[string]string
	// Modified is not compared when directories are built: all files of a packed one
	// have one time, and docker build keeps those it finds.
	Modified time.Time
}

// readImages reads images, by name, out of what docker save writes.
func readImages(t *testing.T, h *hosttest.Host, names ...string) map[string]image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "images.tar")
	docker(t, h, append([]string{"save", "-o", file}, names...)...)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	saved := indexTar(t, f)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	saved.decode("manifest.json", &manifest)
	images := map[string]image{}
	for _, m := range manifest {
		var img image
		saved.decode(m.Config, &img.Config)
		img.alike(t, len(m.Layers))
		for _, name := range m.Layers {
			img.Layers = append(img.Layers, entries(t, saved.open(name)))
		}
		for _, tag := range m.RepoTags {
			images[tag] = img
		}
	}
	for _, name := range names {
		if images[name].Config == nil {
			t.Fatalf("docker save wrote no %s", name)
		}
	}
	return images
}

// alike takes out of the config what no two builds share: when it was built, the
// digests of layers, which hold the times of files, and the farm's own labels.
func (img *image) alike(t *testing.T, layers int) {
	t.Helper()
	delete(img.Config, "created")
	history, _ := img.Config["history"].([]any)
	for _, h := range history {
		delete(h.(map[string]any), "created")
	}
	rootfs, _ := img.Config["rootfs"].(map[string]any)
	if ids, _ := rootfs["diff_ids"].([]any); len(ids) != layers || len(history) == 0 {
		t.Fatalf("an image has %d layers, %d diff_ids and %d lines of history", layers, len(ids), len(history))
	}
	delete(rootfs, "diff_ids")
	config, _ := img.Config["config"].(map[string]any)
	labels, _ := config["Labels"].(map[string]any)
	maps.DeleteFunc(labels, func(k string, _ any) bool { return strings.HasPrefix(k, "slipway.") })
	if len(labels) == 0 { // without the farm's there would be null
		config["Labels"] = nil
	}
}

// entries lists what is in a layer.
func entries(t *testing.T, r io.Reader) []entry {
	t.Helper()
	var all []entry
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
			return all
		}
		if err != nil {
			t.Fatalf("read layer: %v", err)
		}
		digest := sha256.New()
		if _, err := io.Copy(digest, tr); err != nil {
			t.Fatalf("read layer: %v", err)
		}
		maps.DeleteFunc(h.PAXRecords, func(k, _ string) bool { return k == "mtime" || k == "atime" || k == "ctime" })
		all = append(all, entry{
			Name: h.Name, Type: typeName(h.Typeflag), Link: h.Linkname, Mode: h.Mode, UID: h.Uid, GID: h.Gid,
			Size: h.Size, Digest: fmt.Sprintf("%x", digest.Sum(nil)), Records: h.PAXRecords, Modified: h.ModTime,
		})
	}
}

func typeName(flag byte) string {
	switch flag {
	case tar.TypeReg:
		return "file"
	case tar.TypeDir:
		return "directory"
	case tar.TypeSymlink:
		return "symlink"
	case tar.TypeLink:
		return "hardlink"
	}
	return fmt.Sprintf("type %q", flag)
}

// tarIndex finds the files of an archive by name.
type tarIndex struct {
	t     *testing.T
	files map[string]*io.SectionReader
	links map[string]string
}

func indexTar(t *testing.T, f *os.File) tarIndex {
	t.Helper()
	index := tarIndex{t, map[string]*io.SectionReader{}, map[string]string{}}
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return index
		}
		if err != nil {
			t.Fatalf("read %s: %v", f.Name(), err)
		}
		at, err := f.Seek(0, io.SeekCurrent) // the content: tar.Reader reads no block ahead
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			index.files[h.Name] = io.NewSectionReader(f, at, h.Size)
		case tar.TypeSymlink: // a layer that is there already
			index.links[h.Name] = path.Join(path.Dir(h.Name), h.Linkname)
		}
	}
}

func (i tarIndex) open(name string) io.Reader {
	i.t.Helper()
	if target, ok := i.links[name]; ok {
		name = target
	}
	r := i.files[name]
	if r == nil {
		i.t.Fatalf("docker save wrote no file %s", name)
	}
	return io.NewSectionReader(r, 0, r.Size())
}

func (i tarIndex) decode(name string, into any) {
	i.t.Helper()
	if err := json.NewDecoder(i.open(name)).Decode(into); err != nil {
		i.t.Fatalf("docker save wrote %s: %v", name, err)
	}
}
