package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/slipway-farm/slipway/internal/atomicfile"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(string, []byte) error{"plain": atomicfile.Write, "durable": atomicfile.WriteDurable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			for _, content := range []string{"a longer first version", "second"} {
				// What a process left that died while it wrote.
				if err := os.WriteFile(path+atomicfile.Unfinished, []byte("half a version that is longer than any"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := write(path, []byte(content)); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != content {
					t.Errorf("read %q, %v; want %q", got, err, content)
				}
			}
			if err := write(filepath.Join(dir, "none", "file"), nil); err == nil {
				t.Error("a file in a directory that is not there was written")
			}
			// A directory stands where the file should be: the rename fails.
			if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := write(filepath.Join(dir, "taken"), []byte("x")); err == nil {
				t.Error("a directory was replaced")
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 2 {
				t.Errorf("left are %v, %v; want the file and the directory", left, err)
			}
		})
	}
}

// Two that replace a file at once do not meet, and the last one counts.
func TestCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	create := func(content string) *atomicfile.File {
		t.Helper()
		f, err := atomicfile.Create(path)
		if err == nil {
			_, err = f.WriteString(content)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	one, two, dropped := create("the longer one"), create("two"), create("dropped")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there before it is kept: %v", err)
	}
	for _, f := range []*atomicfile.File{one, two} {
		if err := f.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []*atomicfile.File{one, two, dropped, dropped} {
		f.Drop()
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "two" {
		t.Errorf("read %q, %v; want the second", got, err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v; want it readable for its owner only", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v; want the file", left, err)
	}
	if _, err := atomicfile.Create(filepath.Join(path, "none")); err == nil {
		t.Error("a file in a directory that is not there was made")
	}
	// A directory stands where the file should be: the rename fails.
	path = t.TempDir()
	taken := create("x")
	if err := taken.Keep(); err == nil {
		t.Error("a directory was replaced")
	}
	taken.Drop()
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) != 0 {
		t.Errorf("left are %q, %v; want none", left, err)
	}
}
