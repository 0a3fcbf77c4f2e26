package diskroom

import (
	"fmt"
	"syscall"
)

// What statfs(2) calls file systems that keep their files in memory.
const (
	tmpfs = 0x01021994
	ramfs = 0x858458f6
)

// InMemory reports whether the file system of path keeps its files in memory.
func InMemory(path string) (bool, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return false, fmt.Errorf("look at the file system of %s: %w", path, err)
	}
	return uint32(s.Type) == tmpfs || uint32(s.Type) == ramfs, nil //nolint:gosec // it has 32 bits
}
