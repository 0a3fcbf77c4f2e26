package main

import (
	"path/filepath"
	"testing"

	"github.com/slipway-farm/slipway/internal/commandline/commandlinetest"
)

// The command line takes each command that the documentation gives.
func TestCommandsInDocs(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commandlinetest.Documented(t, "enqueue", append(pages, filepath.Join("..", "..", "README.md"), filepath.Join("..", "..", "README.zh-CN.md"))...) {
		a := newApp(process{getenv: func(string) string { return "" }})
		commandlinetest.Check(t, a.rootCmd(), c)
	}
}
