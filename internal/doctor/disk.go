package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// leastRoom is a tenth of the disk, and no more than is enough for a build.
func leastRoom(total uint64) uint64 { return min(total/10, 2<<30) }

// leastInodes is the same for files: a large node_modules has some ten thousand.
func leastInodes(total uint64) uint64 { return min(total/10, 100_000) }

func diskDocker(_ context.Context, e *exam) Finding {
	root := e.daemon.DataRoot
	// Of a daemon on another host, a directory of that name here is another.
	info, err := os.Stat(root)
	if err != nil || !info.IsDir() || !strings.HasPrefix(e.daemon.Address, "unix://") {
		return warn("look at it on the daemon's host (df)", "the data root %s is not visible from here, so its room cannot be checked", root)
	}
	return disk(root, "remove images and build cache that nobody needs (docker system prune), or enlarge the disk")
}

func diskState(_ context.Context, e *exam) Finding {
	return disk(e.StateDir, "logs and contexts on their way need room there: enlarge the disk, or move it with --state")
}

func diskStore(_ context.Context, e *exam) Finding {
	if !filepath.IsAbs(e.StorePath) {
		return Finding{} // a bucket has no disk
	}
	return disk(e.StorePath, "keep jobs for a shorter time (--retention-age, then worker gc), or enlarge the disk")
}

// disk judges the file system of a path, or where the path would be made.
func disk(path, advice string) Finding {
	room, err := roomAt(existing(path))
	if err != nil {
		return broken(fmt.Errorf("look at the disk of %s: %w", path, err), "make sure that it is mounted")
	}
	return room.judge(path, advice)
}

// room is what is free of a file system, in bytes and in files.
type room struct{ free, total, inodes, allInodes uint64 }

func roomAt(path string) (room, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return room{}, err
	}
	unit := uint64(s.Frsize) // FUSE has blocks of another size than it likes to be read in
	if unit == 0 {
		unit = uint64(s.Bsize)
	}
	return room{s.Bavail * unit, s.Blocks * unit, s.Ffree, s.Files}, nil
}

func (r room) judge(path, advice string) Finding {
	text := fmt.Sprintf("%s: %s of %s free", path, bytes(int64(r.free)), bytes(int64(r.total)))
	if r.allInodes > 0 { // btrfs, for one, does not count them
		text += fmt.Sprintf(", %d of %d inodes", r.inodes, r.allInodes)
	}
	short := func(times uint64) bool {
		return r.free < times*leastRoom(r.total) || r.allInodes > 0 && r.inodes < times*leastInodes(r.allInodes)
	}
	switch {
	case short(1):
		return fail(advice, "%s", text)
	case short(2):
		return warn(advice, "%s", text)
	}
	return ok("%s", text)
}

// existing is the innermost directory on the way to path that is there.
func existing(path string) string {
	for {
		_, err := os.Stat(path)
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// bytes is a size as people read it.
func bytes(n int64) string {
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

// bound is a size where 0 means that there is none.
func bound(n int64) string {
	if n == 0 {
		return "without bound"
	}
	return bytes(n)
}

// brief is a duration with one digit after the point.
func brief(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}
