package seat

import (
	"os"
	"testing"
)

func TestLockIdle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release, running, err := LockIdle(dir)
	if err != nil || running {
		t.Fatalf("an unused directory: running %v, %v; want it idle", running, err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v in an unused directory; want nothing made", left, err)
	}

	lock, err := Lock(dir, os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if release, running, err := LockIdle(dir); err != nil || !running || release != nil {
		t.Errorf("a worker's directory: running %v, %v; want it running", running, err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}

	release, running, err = LockIdle(dir)
	if err != nil || running {
		t.Fatalf("a directory whose worker ended: running %v, %v; want it idle", running, err)
	}
	if _, running, err := LockIdle(dir); err != nil || !running {
		t.Errorf("running %v, %v while the lock is taken", running, err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if lock, err := Lock(dir, 0); err != nil {
		t.Errorf("%v after release; want the lock free", err)
	} else {
		_ = lock.Close()
	}

	// The lock file cannot be opened where its directory is a file.
	file := dir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LockIdle(file); err == nil {
		t.Error("a file was taken for a state directory")
	}
}
