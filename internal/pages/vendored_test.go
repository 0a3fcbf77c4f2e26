package pages

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What others have written is as it was published, and comes with its licence: vendored.json
// names the package of npm that each file is from. npm pack PACKAGE@VERSION gets it again.
func TestVendored(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("vendored.json")
	if err != nil {
		t.Fatal(err)
	}
	var files []struct {
		File        string `json:"file"`
		Package     string `json:"package"`
		Version     string `json:"version"`
		License     string `json:"license"`
		LicenseFile string `json:"license_file"`
		SHA256      string `json:"sha256"`
	}
	if err := json.Unmarshal(raw, &files); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range files {
		content, err := os.ReadFile(f.File)
		if err != nil {
			t.Error(err)
			continue
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != f.SHA256 {
			t.Errorf("%s: sha256 %s, want %s", f.File, got, f.SHA256)
		}
		if licence, err := os.ReadFile(f.LicenseFile); err != nil || len(licence) == 0 || f.License == "" || f.Package == "" || f.Version == "" {
			t.Errorf("%s: its licence or origin is missing (%v)", f.File, err)
		}
		known[f.File] = true
	}
	for _, dir := range []string{"assets", "testdata"} {
		scripts, err := filepath.Glob(dir + "/*.js")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range scripts {
			if strings.Contains(file, ".min.") && !known[file] {
				t.Errorf("vendored.json does not have %s", file)
			}
		}
	}
}
