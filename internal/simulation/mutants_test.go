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
	for _, m := range []struct {
		name, file, old, new string
		finds                string // the invariant
	}{
		{
			"any nonce will do", "internal/jobs/jobstest/claims.go",
			`|| nonce == "" || r.job.Nonce != nonce {`, `{`, "I2",
		},
		{
			"nothing is adopted", "internal/worker/recover.go",
			`w.adopt(ctx, job, haltOf(left, job))`, `error(nil)`, "I6",
		},
		{
			"no verdict is kept", "internal/worker/journal.go",
			"a.entry.Result, a.entry.Release = result, release\n\ta.write(true)", "a.entry.Result, a.entry.Release = result, release", "I6",
		},
		{
			"why a container is stopped is not kept", "internal/worker/journal.go",
			"a.entry.Halted = &h\n\ta.write(true)", `_ = h`, "I7",
		},
		{
			"jobs are handed back while they run", "internal/worker/conclude.go",
			"\ta.endContainer(ctx, errDrain)\n", "", "I3",
		},
		{
			"nobody ends himself before his lease does", "internal/worker/worker.go",
			`return o.Lease - 4*o.Renew`, `return 1000 * o.Lease`, "I3",
		},
		{
			"lost tickets stay lost", "internal/reconcile/reconcile.go",
			`return r.tickets.Push(ctx, t)
}

// lost gives`, `return nil
}

// lost gives`, "I1",
		},
		{
			"a loss is a retry of the user's", "internal/jobs/retry.go",
			`Spend: SpendLoss,`, `Spend: SpendRetry,`, "I6",
		},
	} {
		t.Run(m.name, func(t *testing.T) {
			out, err := mutated(t, m.file, m.old, m.new)
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
func mutated(t *testing.T, file, old, changed string) ([]byte, error) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has %d places of %q; the mutation needs one", file, n, old)
	}
	dir := t.TempDir()
	mutant := filepath.Join(dir, "mutant.go")
	overlay := filepath.Join(dir, "overlay.json")
	plan, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
	if err == nil {
		err = errors.Join(os.WriteFile(mutant, []byte(strings.Replace(string(source), old, changed, 1)), 0o600), os.WriteFile(overlay, plan, 0o600))
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
