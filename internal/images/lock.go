package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// fileLock excludes the others of this process, and of other processes on the same
// directory: workers that share a daemon share the notes on its images.
type fileLock struct {
	mu   sync.Mutex
	path string
}

const (
	// lockTime is how long another process may hold a lock: longer than an engine
	// needs to remove an image.
	lockTime = time.Minute
	// lockEvery is how often a lock that is held is tried again.
	lockEvery = 5 * time.Millisecond
)

// lock waits for the lock and returns how to give it back.
func (l *fileLock) lock() (unlock func(), err error) {
	l.mu.Lock()
	defer func() {
		if err != nil {
			l.mu.Unlock()
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
			return func() { _ = f.Close(); l.mu.Unlock() }, nil // closing ends the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(until) {
			return nil, errors.Join(fmt.Errorf("lock the notes on images: %s: %w", l.path, err), f.Close())
		}
	}
}
