package secretfiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// here is a Dir that takes the disk of the test for memory.
func here(t *testing.T) Dir {
	t.Helper()
	return Dir{filepath.Join(t.TempDir(), "run", "host"), func(string) (bool, error) { return true, nil }}
}

func values(t *testing.T, d Dir, container string) string {
	t.Helper()
	all, err := d.Values(container)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	return fmt.Sprintf("%q", all)
}

func TestFilesOfAContainer(t *testing.T) {
	t.Parallel()
	d := here(t)
	if err := os.MkdirAll(d.Of(partPrefix+"one"), 0o700); err != nil { // root writes to any file
		t.Fatal(err)
	}
	if err := os.Chmod(d.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a worker that died in between does it again
		path, err := d.Put("one", map[string][]byte{"a": []byte("first"), "b": []byte("second")})
		if err != nil || path != d.Of("one") {
			t.Fatalf("Put = %q, %v", path, err)
		}
	}
	if _, err := d.Put("two", map[string][]byte{"a": []byte("another")}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{d.Path(): 0o700, d.Of("one"): 0o755, filepath.Join(d.Of("one"), "a"): 0o444} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want the mode %v", path, info.Mode(), err, want)
		}
	}
	if got := values(t, d, "one"); got != `["first" "second"]` {
		t.Errorf("values = %s", got)
	}
	if err := d.Empty("one"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.Of("one")); err != nil || values(t, d, "one") != "[]" {
		t.Errorf("after Empty: %v, %s; want the directory, and nothing in it", err, values(t, d, "one"))
	}
	for range 2 {
		if err := errors.Join(d.Empty("one"), d.Remove("one")); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(d.Path()); err != nil || len(left) != 1 || values(t, d, "two") != `["another"]` {
		t.Errorf("left are %v, %v; want the other container's", left, err)
	}
}

// What cannot be written whole leaves nothing.
func TestPutFails(t *testing.T) {
	t.Parallel()
	d := here(t)
	if err := os.MkdirAll(filepath.Join(d.Of("one"), "b", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Put("one", map[string][]byte{"a": []byte("x"), "b": []byte("x")}); err == nil {
		t.Fatal("Put succeeded")
	}
	if left, err := os.ReadDir(d.Path()); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before func(d *Dir) error
		want   string
	}{
		"a disk":           {func(d *Dir) error { *d = At(d.path); return nil }, "is not in memory"},
		"one that is open": {func(d *Dir) error { return errors.Join(os.MkdirAll(d.path, 0o755), os.Chmod(d.path, 0o755)) }, "others do not get into"},
		"a file": {func(d *Dir) error {
			return errors.Join(os.MkdirAll(filepath.Dir(d.path), 0o700), os.WriteFile(d.path, nil, 0o600))
		}, "make the directory"},
		"a link": {func(d *Dir) error {
			return errors.Join(os.MkdirAll(filepath.Dir(d.path), 0o700), os.Symlink(t.TempDir(), d.path))
		}, "is not a directory"},
		"what cannot be judged": {func(d *Dir) error {
			d.memory = func(string) (bool, error) { return false, errors.New("no answer") }
			return nil
		}, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := here(t)
			if err := tt.before(&d); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Put("one", map[string][]byte{"a": nil}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Put = %v; want %q", err, tt.want)
			}
		})
	}
}

// The kernel's word, where there is a tmpfs.
func TestInMemory(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/dev/shm", "secretfiles")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if _, err := At(filepath.Join(dir, "host")).Put("one", map[string][]byte{"a": []byte("x")}); err != nil {
		t.Error(err)
	}
}
