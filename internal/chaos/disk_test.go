//go:build integration && chaos

package chaos_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-farm/slipway/internal/oracle"
)

// diskOf gives a worker a small disk of its own for its state.
func diskOf(t *testing.T, f *farm, name string) {
	t.Helper()
	dir := filepath.Join(f.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

func (m *monkey) diskFull(kind string) bool {
	d := m.between(time.Second, 5*time.Second)
	return m.hit(oracle.Blow{Kind: kind, Costs: true, Fills: true}, false, func(w *worker) {
		m.check(kind, fill(w.state(), d))
	})
}

// fill takes all room that the disk of dir has, for a while.
func fill(dir string, d time.Duration) error {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return err
	}
	var full error
	for block := make([]byte, 64<<10); full == nil; {
		_, full = f.Write(block)
	}
	time.Sleep(d)
	err = errors.Join(f.Close(), os.Remove(f.Name()))
	if !errors.Is(full, syscall.ENOSPC) {
		err = errors.Join(err, fmt.Errorf("fill the disk: %w", full))
	}
	return err
}
