package contexts

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/maphash"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Inspector judges the entries of one archive as they come. It keeps a few
// bytes per entry, never a name, so that memory does not follow the archive.
type Inspector struct {
	limits Limits
	find   *finder
	// of is what the job says of the context.
	of subject
	// lenient leaves out what it would refuse for its kind: devices, FIFOs,
	// sockets, and links to them. It is for what a container left behind.
	lenient bool
	// anonymous takes away who owns an entry.
	anonymous bool

	seed maphash.Seed
	n    int
	// seen maps the hash of a path to what stands there. Hashes are keyed with
	// the random seed: no author of an archive can make two paths meet.
	seen map[uint64]place
	// folded has the hash of every path that changes when case and the form of
	// accents are taken away, without them.
	folded map[uint64]struct{}
	// dir is the last directory whose parents were looked at: entries of one
	// directory follow each other.
	dir string

	setIDs, xattrs, twins, special finding
}

// place is the number of an entry and what it is.
type place uint32

const (
	aDir place = iota
	aFile
	aLink
	placeBits = 2
)

func (p place) is() place   { return p & (1<<placeBits - 1) }
func (p place) number() int { return int(p >> placeBits) }

// NewInspector judges the entries of an archive that is no context, so that no
// Dockerfile is looked for.
func NewInspector(l Limits) *Inspector { return newInspector(l, jobs.Context{}, nil) }

func newInspector(l Limits, of jobs.Context, find *finder) *Inspector {
	return &Inspector{limits: l, of: subject{Context: of}, find: find, seed: maphash.MakeSeed(), seen: map[uint64]place{}, folded: map[uint64]struct{}{}}
}

// Entry judges one header and returns the one that is handed on in its place:
// what an archive can say besides is left out. nil, nil means that the entry is
// not handed on at all.
func (i *Inspector) Entry(h *tar.Header) (*tar.Header, error) {
	i.n++
	if i.n > i.limits.Entries {
		return nil, TooManyEntries(i.limits.Entries)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil, i.global(h)
	}
	if isSparse(h) {
		return nil, i.refuse(jobs.KindSparseFile, h, "pack without the option --sparse", "is a sparse file")
	}
	name, err := i.name(h)
	if err != nil {
		return nil, err
	}
	what, err := i.kind(h)
	if f, ok := errors.AsType[*jobs.Failure](err); ok && i.lenient && slices.Contains([]jobs.Kind{jobs.KindDeviceNode, jobs.KindSpecialFile, jobs.KindHardlinkTarget}, f.Kind) {
		i.special.add(name)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if name == "." {
		if what != aDir {
			return nil, i.refuse(jobs.KindNameInvalid, h, "give the entry a name", "stands for the context itself and is no directory")
		}
		return i.handOn(h, name)
	}
	if err := i.parents(h, name); err != nil {
		return nil, err
	}
	if err := i.register(h, name, what); err != nil {
		return nil, err
	}
	return i.handOn(h, name)
}

// global refuses a global header that says what other entries are: no two
// programs agree on what becomes of it. git archive writes one with a comment.
func (i *Inspector) global(h *tar.Header) error {
	for k := range h.PAXRecords {
		if k == "path" || k == "linkpath" || k == "size" || strings.HasPrefix(k, "GNU.sparse.") || strings.HasPrefix(k, "SCHILY.") {
			return jobs.Fail(jobs.KindHeaderNotAllowed, nil, "pack without global PAX headers", "entry %d is a global header that sets %q", i.n, jobs.Clip(k))
		}
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// kind tells what the entry is, or refuses it for that.
func (i *Inspector) kind(h *tar.Header) (place, error) {
	switch h.Typeflag {
	case tar.TypeReg:
		return aFile, nil
	case tar.TypeDir:
		return aDir, nil
	case tar.TypeSymlink:
		if h.Linkname == "" || strings.ContainsRune(h.Linkname, 0) {
			return 0, i.refuse(jobs.KindNameInvalid, h, "make the link again", "is a symbolic link to nothing, or to a name with a NUL byte")
		}
		return aLink, nil
	case tar.TypeLink:
		return i.hardlink(h)
	case tar.TypeChar, tar.TypeBlock:
		return 0, i.refuse(jobs.KindDeviceNode, h, "leave it out; a RUN step can make one", "is a device")
	case tar.TypeFifo:
		return 0, i.refuse(jobs.KindSpecialFile, h, "leave it out", "is a FIFO")
	}
	return 0, i.refuse(jobs.KindSpecialFile, h, "pack regular files, directories and links only", "is of the unknown type %q", h.Typeflag)
}

// hardlink makes sure that a hard link leads to a file of the archive that came
// before, and not through a symbolic link.
func (i *Inspector) hardlink(h *tar.Header) (place, error) {
	if leaves(h.Linkname) {
		return 0, i.refuse(jobs.KindHardlinkEscape, h, "copy the file instead of linking to it", "is a hard link to %q, which leaves the context", jobs.Clip(h.Linkname))
	}
	target := path.Clean(h.Linkname)
	for dir := path.Dir(target); dir != "."; dir = path.Dir(dir) {
		if at, ok := i.at(dir); ok && at.is() == aLink {
			return 0, i.refuse(jobs.KindHardlinkEscape, h, "copy the file instead of linking to it", "is a hard link to %q, which leads through the symbolic link %q", jobs.Clip(h.Linkname), jobs.Clip(dir))
		}
	}
	at, ok := i.at(target)
	if !ok || at.is() == aDir {
		return 0, i.refuse(jobs.KindHardlinkTarget, h, "copy the file instead of linking to it", "is a hard link to %q, which is no file before it", jobs.Clip(h.Linkname))
	}
	h.Linkname = target
	return at.is(), nil
}

// parents makes sure that nothing is written through a link or below a file.
func (i *Inspector) parents(h *tar.Header, name string) error {
	dir := path.Dir(name)
	if dir == i.dir {
		return nil
	}
	for up := dir; up != "."; up = path.Dir(up) {
		at, ok := i.at(up)
		switch {
		case ok && at.is() == aLink:
			return i.refuse(jobs.KindSymlinkParent, h, "pack the files where they are, not through a link", "would be written through entry %d, the symbolic link %q", at.number(), jobs.Clip(up))
		case ok && at.is() == aFile:
			return i.refuse(jobs.KindDuplicateEntry, h, "pack each path once", "needs the directory %q, and entry %d is a file of that name", jobs.Clip(up), at.number())
		case !ok: // a directory that the archive does not mention
			i.seen[i.hash(up)] = aDir
		}
	}
	i.dir = dir
	return nil
}

// register refuses a path that was there before. A directory may come twice.
func (i *Inspector) register(h *tar.Header, name string, what place) error {
	key := i.hash(name)
	at, ok := i.seen[key]
	if ok && (at.is() != aDir || what != aDir) {
		if at.number() == 0 {
			return i.refuse(jobs.KindDuplicateEntry, h, "pack each path once", "stands for a directory with entries in it")
		}
		return i.refuse(jobs.KindDuplicateEntry, h, "pack each path once: the builder and a check could look at different ones", "is there already, as entry %d", at.number())
	}
	i.seen[key] = place(i.n)<<placeBits | what
	if ok && at.number() > 0 { // a directory that comes twice
		return nil
	}
	plain := strings.ToLower(norm.NFC.String(name))
	fold := i.hash(plain)
	_, twin := i.folded[fold]
	if plain != name {
		i.folded[fold] = struct{}{}
		_, other := i.seen[fold]
		twin = twin || other
	}
	if twin {
		i.twins.add(name)
	}
	return nil
}

func (i *Inspector) hash(p string) uint64 { return maphash.String(i.seed, p) }

func (i *Inspector) at(p string) (place, bool) {
	at, ok := i.seen[i.hash(p)]
	return at, ok
}

// warnings are sentences about what was taken with a change or a doubt.
func (i *Inspector) warnings() []string {
	var all []string
	say := func(f finding, format string) {
		if f.n > 0 {
			all = append(all, fmt.Sprintf(format, f.n, jobs.Clip(f.first)))
		}
	}
	say(i.setIDs, "setuid, setgid and sticky bits are taken off; entries that have them: %d, the first is %q")
	say(i.xattrs, "extended attributes are left out; entries that have them: %d, the first is %q")
	say(i.twins, "names that differ in case or in the form of accents only are the same on some systems; there are %d, the first is %q")
	return all
}
