//go:build unix

package api

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// isOwn reports whether a directory is this user's, and no other user can write to it.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm()&0o022 == 0
}

// tryLock makes the caller the only one that has a file locked, until it is closed. false means
// that another has.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
