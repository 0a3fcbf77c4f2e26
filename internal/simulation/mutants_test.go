//go:build mutants

package simulation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
			run := mutated(t, m)
			for round := range 15 { // what takes a fault at the right moment may take a while
				out, err := run(round)
				found := firstLine(out, strings.Split(m.finds, " or "))
				var exit *exec.ExitError
				switch {
				case err == nil:
					continue
				case !errors.As(err, &exit) || !bytes.Contains(out, []byte("--- FAIL: TestFarm")):
					t.Errorf("the campaign could not be run: %v\n%s", err, out)
				case found == "": // a rare fault of another kind, which is for TestFarm to report
					t.Logf("round %d found something, but not %s:\n%s", round+1, m.finds, out)
					continue
				default:
					t.Logf("found in round %d: %s", round+1, found)
				}
				return
			}
			t.Error("the campaign found nothing")
		})
	}
}

// mutated prepares campaigns with one change in one file.
func mutated(t *testing.T, m mutation) (run func(round int) ([]byte, error)) {
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
	return func(round int) ([]byte, error) {
		seed := fmt.Sprint(1 + 1000*round)
		return exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-vet=off", "-timeout", "4m", ".",
			"-seed", seed, "-jobs", "3000", "-each", "200").CombinedOutput()
	}
}

// firstLine is the first violation of one of the invariants, "" for none.
func firstLine(out []byte, invariants []string) string {
	for line := range strings.Lines(string(out)) {
		for _, i := range invariants {
			if strings.Contains(line, " "+i+" ") {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}
