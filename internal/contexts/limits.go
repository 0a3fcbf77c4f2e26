package contexts

import "cmp"

// Limits bound what the farm takes as a context. A field that is 0 has its
// default, see [Defaults].
type Limits struct {
	// Compressed is the most bytes of a compressed context as they arrive. One
	// that is not compressed is bound by Size alone.
	Compressed int64
	// Size is the most bytes of uncompressed tar.
	Size int64
	// Entries is the most entries of the archive.
	Entries int
	// Ratio is how many times larger than its compressed form a context may be,
	// once it has unpacked to [ratioFrom] bytes.
	Ratio int64
	// Depth is the most directories in a row, Name the longest path in bytes.
	Depth, Name int
	// SetID keeps the setuid, setgid and sticky bits of entries, which are taken
	// off otherwise.
	SetID bool
}

// Bounds that no operator has a reason to change.
const (
	// ratioFrom is how much may unpack from however little: a text of zeros is
	// no attack.
	ratioFrom = 64 << 20
	// maxHeader is the most that stands before one entry: its header, its long
	// names and its PAX records. Go's own parser takes no more either.
	maxHeader = 1 << 20
	// maxComponent is the longest name of one file or directory on Linux.
	maxComponent = 255
	// MaxDockerfile is the largest Dockerfile in bytes.
	MaxDockerfile = 1 << 20
)

// Defaults are the limits that an operator did not choose.
func Defaults() Limits {
	return Limits{Compressed: 512 << 20, Size: 4 << 30, Entries: 200_000, Ratio: 200, Depth: 64, Name: 4096}
}

// NoLimits are for a caller that does not decide: they are out of reach.
func NoLimits() Limits {
	const far = 1 << 62
	return Limits{Compressed: far, Size: far, Entries: 1 << 30, Ratio: far, Depth: 1 << 20, Name: 1 << 20}
}

// Complete fills in the defaults.
func (l Limits) Complete() Limits {
	d := Defaults()
	return Limits{
		Compressed: cmp.Or(l.Compressed, d.Compressed), Size: cmp.Or(l.Size, d.Size), Entries: cmp.Or(l.Entries, d.Entries),
		Ratio: cmp.Or(l.Ratio, d.Ratio), Depth: cmp.Or(l.Depth, d.Depth), Name: cmp.Or(l.Name, d.Name), SetID: l.SetID,
	}
}

// Arriving is the most bytes of a context as they arrive that begins with head: a tar that is
// not compressed may be as large as any. A head of less than 512 bytes tells nothing.
func (l Limits) Arriving(head []byte) int64 {
	if detect(head) == formatTar {
		return l.Size
	}
	return l.Compressed
}
