//go:build integration

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/slipway-farm/slipway/internal/doctest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// blocks are those of a language in a page of the documentation.
func blocks(t *testing.T, page, language string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range doctest.Blocks(string(text)) {
		if b.Language == language {
			all = append(all, b.Text())
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return all
}

// docs runs what docs/api.md gives to clients, one block after the other in one shell.
func (f *farm) docs(t *testing.T, s *httpServer, dir string) {
	if job, a := f.run("--name", "app", "-t", "app:1", dir); job.State != jobs.Succeeded {
		t.Fatalf("the job is %s\n%s", job.State, a.stderr)
	}
	f.eventually(time.Minute, "the farm has learned the recipe", func() bool { return f.enqueue("recipes", "show", "app").code == 0 })
	var script strings.Builder
	for _, b := range blocks(t, "api.md", "sh") {
		if !strings.HasPrefix(b, "enqueue ") { // those are the operator's
			script.WriteString(b)
		}
	}
	a := s.client(s.url, dir, "env", "TMPDIR="+t.TempDir(), "bash", "-euo", "pipefail", "-c", script.String())
	if file, err := os.ReadFile(filepath.Join(dir, "report.txt")); a.code != 0 || err != nil || string(file) != report {
		t.Errorf("exit code %d, report.txt is %q (%v)\n%.3000s\n%.3000s", a.code, file, err, a.stdout, a.stderr)
	}
	for _, want := range []string{"event: done", `"state":"succeeded"`, "upload-offset: 4096", `"state":"done"`, "has moved no tags"} {
		if !strings.Contains(strings.ToLower(a.stdout+a.stderr), want) {
			t.Errorf("the answers have no %s", want)
		}
	}
}

// scripts are the texts that a step of CI runs in a shell.
func scripts(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if text, ok := value.(string); ok && (key == "run" || key == "command") {
				all = append(all, text)
			}
			all = append(all, scripts(value)...)
		}
		lines, _ := v["script"].([]any)
		for _, line := range lines {
			if text, ok := line.(string); ok {
				all = append(all, text)
			}
		}
	case []any:
		for _, value := range v {
			all = append(all, scripts(value)...)
		}
	}
	return all
}

// ci runs the steps for CI systems in docs/ci.md, as those would.
func (f *farm) ci(t *testing.T, s *httpServer, dir string) {
	for _, text := range blocks(t, "ci.md", "yaml") {
		var doc any
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		found := scripts(doc)
		if len(found) != 1 {
			t.Errorf("found the scripts %q in\n%s", found, text)
			continue
		}
		script := strings.ReplaceAll(found[0], "$$", "$")
		env := []string{
			"GITHUB_REPOSITORY=a/b", "GITHUB_RUN_ID=1", "GITHUB_RUN_ATTEMPT=1", "GITHUB_SHA=c0ffee", "CI_JOB_ID=1", "CI_COMMIT_SHA=c0ffee",
			"BUILDKITE_JOB_ID=1", "BUILDKITE_RETRY_COUNT=0", "BUILDKITE_COMMIT=c0ffee",
		}
		a := s.client(s.url, dir, "env", append(env, "bash", "-euo", "pipefail", "-c", script)...)
		id := strings.TrimSpace(f.enqueue("ls", "-o", "name", "--limit", "1").stdout)
		if job := f.job(id); a.code != 0 || job.State != jobs.Succeeded || job.Result.Tags[0] != "app:c0ffee" || job.Spec.IdempotencyKey == "" {
			t.Errorf("exit code %d, the newest job is %s with %+v\n%s%s", a.code, job.State, job.Result, a.stdout, a.stderr)
		}
	}
}
