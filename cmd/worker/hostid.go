package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// hostIdentity returns the identity kept in the state directory, making one
// the first time, and locks the directory for this process: two workers with
// one identity would take each other's jobs for their own. release unlocks it.
func hostIdentity(stateDir string) (id string, release func() error, err error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make state directory (choose another with --state): %w", err)
	}
	lock, err := lockState(stateDir, os.O_CREATE)
	for end := time.Now().Add(lockPatience); errors.Is(err, errLocked) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		lock, err = lockState(stateDir, os.O_CREATE)
	}
	if errors.Is(err, errLocked) {
		return "", nil, fmt.Errorf("another worker uses the state directory %s; stop it or choose another with --state", stateDir)
	} else if err != nil {
		return "", nil, err
	}
	id, err = readIdentity(stateDir)
	if errors.Is(err, os.ErrNotExist) {
		id = uuid.NewString()
		err = writeFile(identityFile(stateDir), []byte(id))
	}
	if err != nil {
		_ = lock.Close()
		return "", nil, fmt.Errorf("read host identity %s: %w", identityFile(stateDir), err)
	}
	return id, lock.Close, nil
}

// lockPatience is how long a worker that was killed may take to be gone.
const lockPatience = 3 * time.Second

func identityFile(stateDir string) string { return filepath.Join(stateDir, "host") }

// readIdentity returns the identity that a worker made before.
func readIdentity(stateDir string) (string, error) {
	raw, err := os.ReadFile(identityFile(stateDir))
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(raw))
	_, err = uuid.Parse(id)
	return id, err
}

// errLocked says that a worker runs on a state directory.
var errLocked = errors.New("a worker has it")

// lockState takes the lock of a state directory; closing the file gives it back.
// create is os.O_CREATE, or 0 to change nothing.
func lockState(stateDir string, create int) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(stateDir, "lock"), create|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	return lock, nil
}

// writeFile writes a small file whole or not at all.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
