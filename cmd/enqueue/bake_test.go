package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestBakeDirectories: the directories of a bake file are relative to it, and to the
// working directory when it comes from stdin.
func TestBakeDirectories(t *testing.T) {
	const text = `{"target":{"app":{"context":"app"}}}`
	dir := t.TempDir()
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "here", "app"), 0o755),
		os.WriteFile(filepath.Join(dir, "here", "app", "Dockerfile"), []byte("FROM scratch\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "here", "bake.json"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(dir, "bake.json"), []byte(text), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, cwd, file string
		want            int
	}{
		{"beside the file", ".", "here/bake.json", jobs.ExitOK},
		{"not beside the file", "here", "../bake.json", jobs.ExitUsage},
		{"an absolute path", "here", filepath.Join(dir, "here", "bake.json"), jobs.ExitOK},
		{"from stdin", "here", "-", jobs.ExitOK},
		{"from stdin elsewhere", ".", "-", jobs.ExitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(filepath.Join(dir, tt.cwd))
			f := startFarm(t, farmOptions{paused: true})
			var out, errs buffer
			code := f.app(process{getenv: noEnv, stdin: strings.NewReader(text), stdout: &out, stderr: &errs}).
				run(t.Context(), []string{"submit", "--store", f.dir, "--bake", tt.file, "app"})
			if submitted := f.queue.Len() == 1; code != tt.want || submitted != (code == jobs.ExitOK) {
				t.Errorf("exit code %d, want %d; %d tickets: %s%s", code, tt.want, f.queue.Len(), out.String(), errs.String())
			}
		})
	}
}
