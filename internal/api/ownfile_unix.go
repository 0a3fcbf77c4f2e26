//go:build unix

package api

import (
	"errors"
	"os"
	"syscall"
)

// tryLock makes the caller the only one that has a file locked, until it is closed. false means
// that another has.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
