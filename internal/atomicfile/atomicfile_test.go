package atomicfile_test

import (
	"os"
	"path/filepath"
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
