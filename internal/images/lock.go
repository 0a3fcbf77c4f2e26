package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// fileLock excludes the others of this process, and of other processes on the same
// directory: workers that share a daemon share the notes on its images.
type fileLock struct {
	// turn holds one value, which its holder gives back. It is no mutex: who waits for
	// the file waits with it, and a clock that stands still while goroutines wait for a
	// mutex, as in tests, would never move on.
	turn chan struct{}
	path string
}

func newFileLock(path string) fileLock { return fileLock{turn: make(chan struct{}, 1), path: path} }

const (
	// lockTime is how long another process may hold a lock: longer than an engine
	// needs to remove an image.
	lockTime = time.Minute
	// lockEvery is how often a lock that is held is tried again.
	lockEvery = 5 * time.Millisecond
)

// lock waits for the lock and returns how to give it back.
func (l *fileLock) lock() (unlock func(), err error) {
	l.turn <- struct{}{}
	defer func() {
		if err != nil {
			<-l.turn
		}
	}()
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return nil, fmt.Errorf("lock the notes on images: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the notes on images: %w", err)
	}
	for until := time.Now().Add(lockTime); ; time.Sleep(lockEvery) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close(); <-l.turn }, nil // closing ends the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(until) {
			return nil, errors.Join(fmt.Errorf("lock the notes on images: %s: %w", l.path, err), f.Close())
		}
	}
}
