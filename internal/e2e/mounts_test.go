//go:build integration

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// mountTmpfs mounts a disk of a size at dir for the length of the test.
func mountTmpfs(t *testing.T, dir, size string) string {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// filler returns what fills a disk to the last byte, and what undoes it.
func filler(t *testing.T, dir string) (fill, empty func()) {
	file := filepath.Join(dir, "filler")
	return func() { _ = exec.Command("dd", "if=/dev/zero", "of="+file, "bs=64k").Run() }, // it fails when the disk is full
		func() {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
}

// fillUpTo leaves so many bytes of a disk.
func fillUpTo(t *testing.T, dir string, left uint64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	free := s.Bavail * uint64(s.Bsize)
	if free < left {
		t.Fatalf("%s has only %d bytes left; want to leave %d", dir, free, left)
	}
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, free-left), 0o600); err != nil {
		t.Fatal(err)
	}
}
