package imagecontent

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The kinds of packages that are read.
const (
	Deb = "deb"
	Apk = "apk"
)

// maxDatabase bounds what is read of an image's databases, in bytes; that of a full
// Debian desktop has a tenth of it. A path that is remembered beside them counts as its
// length and perPath.
const (
	maxDatabase = 64 << 20
	perPath     = 64
)

// Package is an installed package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch,omitempty"`
	// Kind is Deb or Apk.
	Kind string `json:"kind"`
}

// Inventory is what an image has installed, as far as it was read.
type Inventory struct {
	// Packages has each package once, by name, kind, architecture and version.
	Packages []Package `json:"packages"`
	// Unread names, for people, databases that the image has and that are not read:
	// "rpm (var/lib/rpm/rpmdb.sqlite)". Packages is not all that is installed then.
	Unread []string `json:"unread,omitempty"`
}

// Packages reads which packages an image has installed by what dpkg and apk note in its
// file system. It reads all layers. It fails when a layer cannot be read or is not what
// the image's config says, when a database is damaged, and when the databases have more
// than 64 MiB. ctx is looked at as in [Same].
func Packages(ctx context.Context, img v1.Image) (Inventory, error) {
	layers, err := layersOf(img)
	if err != nil {
		return Inventory{}, err
	}
	s := search{all: databases(), hidden: newCover(), room: maxDatabase}
	for _, l := range slices.Backward(layers) {
		if err := s.layer(ctx, l); err != nil {
			return Inventory{}, err
		}
	}
	slices.SortFunc(s.found.Packages, byName)
	s.found.Packages = slices.Compact(s.found.Packages)
	slices.Sort(s.found.Unread)
	return s.found, nil
}

// byName orders packages.
func byName(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
}

// search goes through an image from its topmost layer down.
type search struct {
	all    []database
	hidden cover // by the layers so far
	room   int64 // bytes that may be read yet
	found  Inventory
}

// file is what a layer has at a path of a database.
type file struct {
	database database
	text     []byte
	unread   string // why it is not read; "" when it is
}

// layer reads what a layer has and no layer above it hides.
func (s *search) layer(ctx context.Context, l layer) error {
	files := map[string]file{}
	hides := newCover()
	for e, err := range l.entries(ctx) {
		if err != nil {
			return err
		}
		if err := s.entry(e, files, hides); err != nil {
			return fmt.Errorf("read %s: %w", l.name, err)
		}
	}
	s.hidden.merge(hides)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		f := files[p]
		if f.unread != "" {
			s.found.Unread = append(s.found.Unread, f.database.kind+" ("+f.unread+")")
			continue
		}
		list, err := f.database.read(f.text)
		if err != nil {
			return fmt.Errorf("read %s: read packages in %s: %w", l.name, p, err)
		}
		s.found.Packages = append(s.found.Packages, list...)
	}
	return nil
}

// entry notes what an entry is to the databases, and what it hides. A later entry of a
// layer takes the place of an earlier one.
func (s *search) entry(e entry, files map[string]file, hides cover) error {
	subject := e.path
	if gone, ok := whiteout(e.path); ok {
		subject = gone
	}
	if !slices.ContainsFunc(s.all, func(d database) bool { return d.near(subject) }) {
		return nil
	}
	if err := s.take(int64(len(e.path)) + perPath); err != nil {
		return err
	}
	hides.add(e.path, e.Typeflag == tar.TypeDir)
	if s.hidden.hides(e.path) {
		return nil
	}
	delete(files, e.path)
	for _, d := range s.all {
		switch e.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			target := e.Linkname
			if e.Typeflag == tar.TypeLink {
				target = "/" + target // from the root, not from where the link is
			}
			if d.leads(e.path, target, s.all) {
				files[e.path] = file{database: d, unread: e.path + " is a link"}
			}
		case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
			if !d.has(e.path) {
				continue
			}
			if d.read == nil {
				files[e.path] = file{database: d, unread: e.path}
				continue
			}
			err := s.take(e.Size)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.path, err)
			}
			text, err := io.ReadAll(e.content)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.path, err)
			}
			files[e.path] = file{database: d, text: text}
		}
	}
	return nil
}

// take keeps memory for so many bytes, if there is room.
func (s *search) take(bytes int64) error {
	if bytes > s.room {
		return errors.New("the databases of packages have more than 64 MiB")
	}
	s.room -= bytes
	return nil
}
