//go:build unix

package diskroom

import (
	"fmt"
	"syscall"
)

// At looks at the file system of path.
func At(path string) (Room, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return Room{}, fmt.Errorf("look at the disk of %s: %w", path, err)
	}
	unit := blockSize(s)
	return Room{s.Bavail * unit, s.Blocks * unit, s.Ffree, s.Files}, nil
}
