package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/slipway-farm/slipway/internal/commandline"
	"github.com/slipway-farm/slipway/internal/commandline/commandlinetest"
)

// allPages are what people read, and copy from.
func allPages(t *testing.T) []string {
	t.Helper()
	allPages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil || len(allPages) < 10 {
		t.Fatalf("%d allPages, %v; want the documentation", len(allPages), err)
	}
	return append(allPages, filepath.Join("..", "..", "README.md"), filepath.Join("..", "..", "README.zh-CN.md"))
}

// The worker takes each command that the documentation gives.
func TestCommandsInDocs(t *testing.T) {
	t.Parallel()
	for _, c := range commandlinetest.Documented(t, "worker", allPages(t)...) {
		commandlinetest.Check(t, rootCommand(nil, t.Context()), c)
	}
}

// Each variable that the documentation or an example sets is one of the farm's.
func TestVariablesInDocs(t *testing.T) {
	t.Parallel()
	set := regexp.MustCompile(`\b(SLIPWAY_[A-Z0-9_]+)[=:]\s*\S`)
	files := append(allPages(t), filepath.Join("..", "..", "deploy", "worker.env.example"))
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range set.FindAllStringSubmatch(string(text), -1) {
			found++
			if err := (commandline.Environment{m[1] + "=x"}).Unknown(rootCommand(nil, t.Context()), others()...); err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
			}
		}
	}
	if found < 20 {
		t.Errorf("%d variables; want those of the documentation", found)
	}
}
