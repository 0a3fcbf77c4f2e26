package settings

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ListenError says why nothing can listen on an address.
func ListenError(flag, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %s: another program listens there; choose another address", flag, address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this host does not have the address; choose one of its own", flag, address)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: this user may not listen there; choose a port above 1023", flag, address)
	default:
		return fmt.Errorf("%s %s: %w", flag, address, err)
	}
}

// CheckSecrets checks the directory of build secrets. It only logs a secret that it cannot
// read: that one may be for another worker.
func CheckSecrets(ctx context.Context, lg *slog.Logger, dir string) error {
	if dir == "" {
		return nil
	}
	inside, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--secrets %s: there is no such directory; make it, or leave it out when builds need no secrets", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("--secrets %s: it is not a directory; give one with a file per secret", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--secrets %s: it cannot be read by this user (%d); give it to the worker's user", dir, os.Geteuid())
	case err != nil:
		return fmt.Errorf("--secrets: %w", err)
	}
	for _, entry := range inside {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			lg.WarnContext(ctx, "reading a build secret failed", "secret", strconv.Quote(entry.Name()), "err", err)
			continue
		}
		_ = f.Close() // nothing was written
	}
	return nil
}
