//go:build unix

package fsop

import (
	"io/fs"
	"os"
	"syscall"
)

// IsOwn reports whether a directory is this user's, and no other user can write to it.
func IsOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm()&0o022 == 0
}
