// Package examples holds documents and programs to start from; this test keeps
// the documents acceptable.
package examples

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d documents: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := jobs.DecodeSpec(raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := spec.Normalize().Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}
