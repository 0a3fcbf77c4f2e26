package jobs_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs/states.md")

// drawing is the state diagram as mermaid.
func drawing() string {
	var b strings.Builder
	fmt.Fprintf(&b, "```mermaid\nstateDiagram-v2\n    [*] --> %s\n", jobs.Queued)
	for _, tr := range jobs.Transitions() {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", tr.From, tr.To, tr.By)
	}
	for _, s := range jobs.States() {
		if s.Terminal() {
			fmt.Fprintf(&b, "    %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n")
	return b.String()
}

// table is the same as a table.
func table() string {
	var b strings.Builder
	b.WriteString("| from | to | when |\n|---|---|---|\n")
	for _, tr := range jobs.Transitions() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", tr.From, tr.To, tr.By)
	}
	return b.String()
}

// kinds is the table of failures.
func kinds() string {
	var b strings.Builder
	b.WriteString("| code | becomes | whose | tries | exit code | meaning |\n|---|---|---|---|---|---|\n")
	for _, k := range jobs.Kinds() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %d | %s |\n", k.Kind, k.State, k.Fault, tries(k), k.Exit, k.Meaning)
	}
	return b.String()
}

func tries(k jobs.KindInfo) string {
	switch {
	case k.Retryable && k.Fault == jobs.UserFault:
		return "1 + `retries`"
	case k.Retryable:
		return fmt.Sprintf("%d in a row", jobs.MaxLosses)
	}
	return "1"
}

// The page and the code draw one and the same graph. After a change of the
// table: go test ./internal/jobs -run TestStatesPage -update
func TestStatesPage(t *testing.T) {
	t.Parallel()
	page := filepath.Join("..", "..", "docs", "states.md")
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := raw
	for name, text := range map[string]string{"diagram": drawing(), "table": table(), "kinds": kinds()} {
		begin, end := []byte("<!-- "+name+": made from the code -->\n"), []byte("<!-- end of "+name+" -->\n")
		before, rest, ok := bytes.Cut(want, begin)
		_, after, closed := bytes.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no place for the %s: want the lines\n%s%s", page, name, begin, end)
		}
		want = slices.Concat(before, begin, []byte(text), end, after)
	}
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(raw, want) {
		t.Errorf("%s does not show jobs.Transitions() and jobs.Kinds(); run: go test ./internal/jobs -run TestStatesPage -update", page)
	}
	for _, s := range jobs.States() {
		if !bytes.Contains(raw, []byte("- **"+string(s)+"**")) {
			t.Errorf("%s does not say what %s means", page, s)
		}
	}
}

func TestTransitions(t *testing.T) {
	t.Parallel()
	reached := map[jobs.State]bool{jobs.Queued: true}
	seen := map[[2]jobs.State]bool{}
	for _, tr := range jobs.Transitions() {
		switch move := [2]jobs.State{tr.From, tr.To}; {
		case seen[move]:
			t.Errorf("%s to %s stands in the table twice", tr.From, tr.To)
		case !slices.Contains(jobs.States(), tr.From) || !slices.Contains(jobs.States(), tr.To):
			t.Errorf("%s to %s is between unknown states", tr.From, tr.To)
		case tr.From.Terminal():
			t.Errorf("%s is an end and becomes %s", tr.From, tr.To)
		case tr.From == tr.To || tr.By == "" || strings.Contains(tr.By, ":"):
			t.Errorf("%s to %s: want two states and a reason that can be drawn, not %q", tr.From, tr.To, tr.By)
		default:
			seen[move] = true
			reached[tr.To] = true
		}
	}
	for _, from := range jobs.States() {
		if !reached[from] {
			t.Errorf("no job ever becomes %s", from)
		}
		exits := 0
		for _, to := range jobs.States() {
			if got, want := from.CanBecome(to), seen[[2]jobs.State{from, to}]; got != want {
				t.Errorf("%s can become %s: got %t; want %t", from, to, got, want)
			}
			if from.CanBecome(to) {
				exits++
			}
		}
		if from.Terminal() != (exits == 0) {
			t.Errorf("%s has %d ways out and terminal %t", from, exits, from.Terminal())
		}
	}
	if jobs.State("paused").Terminal() || jobs.State("").CanBecome(jobs.Running) {
		t.Error("an unknown state neither is an end nor becomes anything")
	}
}
