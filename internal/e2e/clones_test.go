//go:build integration

package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// Two people clone a repository, each with settings of their own, and get the
// same digest.
func TestClonesPackAlike(t *testing.T) {
	t.Parallel()
	origin := contextDir(t, map[string]string{
		"Dockerfile": copyAll, ".dockerignore": "*.tmp\n", "run.sh": "#!/bin/sh\n", "a/b/c.txt": "c", "caf\u00e9/\u65e5\u672c": "unicode", "with space": "", "empty/.keep": "",
	})
	if err := os.Chmod(filepath.Join(origin, "run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a/b", filepath.Join(origin, "link")); err != nil {
		t.Fatal(err)
	}
	run(t, "022", "UTC", origin, "git", "init", "-q")
	run(t, "022", "UTC", origin, "git", "add", "-A")
	run(t, "022", "UTC", origin, "git", "commit", "-q", "-m", "all of it")
	digests := func(modes string) map[string]string {
		found := map[string]string{}
		for umask, zone := range map[string]string{"022": "UTC", "077": "Pacific/Kiritimati"} {
			dir := filepath.Join(t.TempDir(), "clone")
			run(t, umask, zone, "/", "git", "clone", "-q", origin, dir)
			var spec jobs.Spec
			doc := run(t, umask, zone, dir, filepath.Join(bins, "enqueue"), "submit", "--dry-run", "--no-cache-dir", "--modes", modes, ".")
			if err := json.Unmarshal(doc, &spec); err != nil || spec.Context == nil || spec.Context.Digest == "" {
				t.Fatalf("the document has no digest: %v\n%s", err, doc)
			}
			found[spec.Context.Digest] += fmt.Sprintf("umask %s, TZ=%s; ", umask, zone)
		}
		return found
	}
	report, err := pack.Write(t.Context(), io.Discard, origin, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := digests("auto"); len(got) != 1 || got[report.Digest] == "" {
		t.Errorf("digests %q, that of the origin is %s", got, report.Digest)
	}
	// The clones do differ.
	if got := digests("keep"); len(got) != 2 {
		t.Errorf("with all modes kept the digests are %q, want two", got)
	}
}

// run runs a program with the settings of another user and returns what it
// prints.
func run(t *testing.T, umask, zone, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `umask "$0" && exec "$@"`, umask, name}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(
		os.Environ(), "TZ="+zone, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a developer", "GIT_AUTHOR_EMAIL=developer@example.com", "GIT_COMMITTER_NAME=a developer", "GIT_COMMITTER_EMAIL=developer@example.com",
	)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return out
}
