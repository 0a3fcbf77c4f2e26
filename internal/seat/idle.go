package seat

import (
	"errors"
	"os"
)

// LockIdle takes the lock of a state directory for a program that repairs it while no
// worker runs. running reports that a worker has the lock: then there is nothing to
// release. A directory that no worker has used needs no lock. A worker that is started
// before release finds the lock taken, exits and has to be started again.
func LockIdle(path string) (release func() error, running bool, err error) {
	lock, err := Lock(path, 0)
	switch {
	case errors.Is(err, ErrLocked):
		return nil, true, nil
	case errors.Is(err, os.ErrNotExist):
		return func() error { return nil }, false, nil
	case err != nil:
		return nil, false, err
	}
	return lock.Close, false, nil
}
