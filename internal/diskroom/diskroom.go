// Package diskroom tells how much room a disk has, and whether that is enough for
// a build host to work with. The worker takes no jobs below it; the doctor warns
// before.
package diskroom

import (
	"fmt"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Room is what is free of a file system, in bytes and in files.
type Room struct{ Free, Total, Inodes, AllInodes uint64 }

// Least is the floor: a tenth of the disk, and no more than is enough for a
// build.
func (r Room) Least() uint64 { return min(r.Total/10, 2<<30) }

// leastInodes is the same for files: a large node_modules has some ten thousand.
func (r Room) leastInodes() uint64 { return min(r.AllInodes/10, 100_000) }

// Short reports whether less is free than so many times the floor. A file system
// that does not count inodes, such as btrfs, is never short of them.
func (r Room) Short(times uint64) bool {
	return r.Free < times*r.Least() || r.AllInodes > 0 && r.Inodes < times*r.leastInodes()
}

// Shortage says which disk has too little room for a build host to work with.
type Shortage struct {
	Path string
	Room Room
	// Engine is true for the disk that containers write to.
	Engine bool
}

func (s Shortage) Error() string {
	return fmt.Sprintf("the disk of %s is short of room: %s; jobs are taken again when %s are free", s.Path, s.Room, Bytes(int64(s.Room.Least()))) // it is 2 GiB at most
}

func (r Room) String() string {
	text := fmt.Sprintf("%s of %s free", Bytes(int64(r.Free)), Bytes(int64(r.Total)))
	if r.AllInodes > 0 {
		text += fmt.Sprintf(", %d of %d inodes", r.Inodes, r.AllInodes)
	}
	return text
}

// Free says in a line what is free of a host's disks. Directories on one disk, as far as their
// numbers tell, are named together.
func Free(disks []jobs.HostDisk) string {
	var texts []string
	names := map[string][]string{}
	for _, d := range disks {
		text := fmt.Sprintf("%s of %s free, at least %s wanted", Bytes(int64(d.Free)), Bytes(int64(d.Size)), Bytes(int64(d.Least)))
		if names[text] == nil {
			texts = append(texts, text)
		}
		names[text] = append(names[text], d.Directory)
	}
	for i, text := range texts {
		texts[i] = strings.Join(names[text], ", ") + ": " + text
	}
	return strings.Join(texts, "; ")
}

// Bytes is a size as people read it.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	x := float64(n)
	for ; x >= 1024 && len(units) > 1; units = units[1:] {
		x /= 1024
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[0])
}
