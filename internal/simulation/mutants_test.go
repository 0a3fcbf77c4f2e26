//go:build mutants

package simulation

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutants breaks the farm on purpose, one promise at a time: a campaign that
// does not notice proves nothing. The source stays as it is; the compiler is
// given other files in its place.
func TestMutants(t *testing.T) {
	for _, m := range mutations() {
		t.Run(m.name, func(t *testing.T) {
			out, err := mutated(t, m)
			var exit *exec.ExitError
			switch {
			case err == nil:
				t.Errorf("the campaign found nothing")
			case !errors.As(err, &exit) || !bytes.Contains(out, []byte("--- FAIL: TestFarm")):
				t.Errorf("the campaign could not be run: %v\n%s", err, out)
			case !bytes.Contains(out, []byte(m.finds+" ")):
				t.Errorf("the campaign found something, but not %s:\n%s", m.finds, out)
			default:
				t.Logf("found: %s", firstLine(out, m.finds+" "))
			}
		})
	}
}

// mutated runs a campaign with one change in one file.
func mutated(t *testing.T, m mutation) ([]byte, error) {
	t.Helper()
	path, content := m.apply(t)
	dir := t.TempDir()
	mutant := filepath.Join(dir, "mutant.go")
	overlay := filepath.Join(dir, "overlay.json")
	plan, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
	if err == nil {
		err = errors.Join(os.WriteFile(mutant, []byte(content), 0o600), os.WriteFile(overlay, plan, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-vet=off", "-timeout", "4m", ".", "-seed", "1", "-jobs", "3000", "-each", "200")
	return cmd.CombinedOutput()
}

func firstLine(out []byte, with string) string {
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, with) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
