package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	lock, err := os.OpenFile(filepath.Join(stateDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return "", nil, fmt.Errorf("another worker uses the state directory %s; stop it or choose another with --state", stateDir)
	}
	path := filepath.Join(stateDir, "host")
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		raw = []byte(uuid.NewString())
		err = writeFile(path, raw)
	}
	id = strings.TrimSpace(string(raw))
	if err == nil {
		_, err = uuid.Parse(id)
	}
	if err != nil {
		_ = lock.Close()
		return "", nil, fmt.Errorf("read host identity %s: %w", path, err)
	}
	return id, lock.Close, nil
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
