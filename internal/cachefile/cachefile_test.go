package cachefile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/cachefile"
)

// A file is as it was written, or it is no use.
func TestWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	const format, content = "a format 1\n", "what was written"
	w, err := cachefile.Create(path, format)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if _, err := cachefile.Open(path, format); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before Keep: got %v", err)
	}
	if err := w.Keep(); err != nil {
		t.Fatal(err)
	}
	w.Drop()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte, format string, good bool) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := cachefile.Open(path, format)
		if !good {
			if !errors.Is(err, cachefile.ErrUnusable) {
				t.Errorf("%s: got %v, want that it is no use", what, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got, err := io.ReadAll(f); err != nil || string(got) != content || f.Size() != int64(len(content)) {
			t.Errorf("read %q, %v", got, err)
		}
	}
	check("as it was", whole, format, true)
	check("another format", whole, "a format 2\n", false)
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		check(fmt.Sprint("byte ", i), damaged, format, false)
		check(fmt.Sprint("cut at ", i), whole[:i], format, false)
	}
}

// What was not used for long goes, and so do the oldest of too many.
func TestTidy(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	file := func(name string, age time.Duration, size int64) {
		t.Helper()
		p := filepath.Join(dir, name)
		err := errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, size), os.Chtimes(p, now.Add(-age), now.Add(-age)))
		if err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	const day = 24 * time.Hour
	most := cachefile.Bounds{Files: 100, Bytes: 256 << 20, Age: 30 * day}
	file("used", 29*day, 1)
	file("unused", 31*day, 1)
	file("dead.1.tmp", 25*time.Hour, 1)
	file("writes.2.tmp", 23*time.Hour, 1)
	cachefile.Tidy(dir, most, now)
	if got, want := left(), "used writes.2.tmp"; got != want {
		t.Errorf("left are %q, want %q", got, want)
	}
	file("huge", day/2, 200<<20)
	file("new", 0, 100<<20)
	cachefile.Tidy(dir, most, now)
	if got, want := left(), "new"; got != want {
		t.Errorf("left of so many bytes are %q, want %q", got, want)
	}
	for i := range 150 {
		file(fmt.Sprintf("many%03d", i), time.Duration(i+1)*time.Minute, 1)
	}
	cachefile.Tidy(dir, most, now)
	if got := strings.Fields(left()); len(got) != 100 || got[0] != "many000" || got[98] != "many098" || got[99] != "new" {
		t.Errorf("left are %d: %q", len(got), got)
	}
	cachefile.Tidy(filepath.Join(dir, "none"), most, now)
}
