package settings

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One secret that cannot be read is logged, and the worker starts all the same.
func TestSecretThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "npm")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "good"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := CheckSecrets(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), dir); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "npm") || strings.Contains(text, "hunter2") {
		t.Errorf("log %q; want one line about npm", text)
	}
}

// A directory of secrets that cannot be one is refused with what to do.
func TestNoDirectoryOfSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lg := slog.New(slog.DiscardHandler)
	for path, want := range map[string]string{
		"":                         "",
		dir:                        "",
		filepath.Join(dir, "none"): "there is no such directory; make it, or leave it out",
		file:                       "it is not a directory; give one with a file per secret",
	} {
		err := CheckSecrets(t.Context(), lg, path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("--secrets %q: %v; want %q", path, err, want)
		}
	}
}
