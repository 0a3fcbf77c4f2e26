//go:build integration

package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/doctest"
	"github.com/slipway-farm/slipway/internal/hosttest"
)

// block is a block of commands in a page of the documentation.
type block struct {
	page string
	line int
	// section is the heading above it.
	section string
	// machines are those that it is for: one after the other runs it.
	machines []string
	script   string
	// want is what the page shows that it prints, "" when it shows nothing. A line "..."
	// stands for any lines.
	want string
}

func (b block) String() string { return fmt.Sprintf("%s:%d (%s)", b.page, b.line, b.section) }

// commands are the blocks of sh in a page, in their order. Each begins with the comment
// that names its machines.
func commands(t *testing.T, page string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range doctest.Blocks(string(text)) {
		switch {
		case b.Language == "text" && len(all) > 0 && all[len(all)-1].want == "":
			all[len(all)-1].want = b.Text()
		case b.Language == "sh":
			names, found := strings.CutPrefix(b.Lines[0], "# on ")
			if !found {
				t.Fatalf("%s:%d: found %q; want a comment that names the machines", page, b.Line, b.Lines[0])
			}
			all = append(all, block{page, b.Line, b.Section, regexp.MustCompile(`, | and `).Split(names, -1), b.Text(), ""})
		default:
			t.Fatalf("%s:%d: a block %q is neither commands nor what they print", page, b.Line, b.Language)
		}
	}
	return all
}

// terminal is a shell that stays open on a machine.
type terminal struct {
	machine *hosttest.Machine
	in      io.Writer
	lines   chan string // what it prints; closed at its end
}

// patience is how long a block of commands may take.
const patience = 90 * time.Second

// open opens a shell that ends with the first command that fails.
func open(t *testing.T, m *hosttest.Machine) *terminal {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := m.Command(ctx, "bash", "-eo", "pipefail")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{m, in, make(chan string)}
	go func() {
		defer close(term.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case term.lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed; the machine ends what it runs
	})
	return term
}

// run runs a script to its end.
func (term *terminal) run(ctx context.Context, script string) (stdout, stderr string, err error) {
	const done = "the script has ended"
	_, err = fmt.Fprintf(term.in, "{ %s } >/tmp/stdout 2>/tmp/stderr </dev/null\necho %s\n", script, done)
	if err == nil {
		select {
		case line := <-term.lines:
			if line != done {
				err = fmt.Errorf("a command failed: %q", line)
			}
		case <-time.After(patience):
			err = fmt.Errorf("it did not end within %s", patience)
		}
	}
	read := func(name string) string {
		out, err := term.machine.Command(ctx, "cat", name).Output()
		if err != nil {
			return err.Error()
		}
		return string(out)
	}
	return read("/tmp/stdout"), read("/tmp/stderr"), err
}

// walk is a farm that is set up and kept as the documentation says.
type walk struct {
	t         *testing.T
	terminals map[string]*terminal
	blocks    []block
}

// section runs the blocks below a heading, which have to be the next ones.
func (w *walk) section(name string) {
	w.t.Helper()
	w.part(name, 0)
}

// part runs some of the blocks below a heading, 0 for all that are left.
func (w *walk) part(name string, only int) {
	w.t.Helper()
	began := time.Now()
	n := 0
	for len(w.blocks) > 0 && w.blocks[0].section == name && (only == 0 || n < only) {
		b := w.blocks[0]
		w.blocks = w.blocks[1:]
		n++
		for _, m := range b.machines {
			w.run(b, m)
		}
	}
	if n == 0 {
		next := "nothing"
		if len(w.blocks) > 0 {
			next = w.blocks[0].String()
		}
		w.t.Fatalf("the section %q has no commands here: next is %s", name, next)
	}
	w.t.Logf("%s: %d blocks, %s", name, n, time.Since(began).Round(100*time.Millisecond))
}

// again runs those blocks below a heading that are for a machine, on another one.
func (w *walk) again(page, name, machine, other string) {
	w.t.Helper()
	n := 0
	for _, b := range commands(w.t, page) {
		if b.section == name && slices.Contains(b.machines, machine) {
			w.run(b, other)
			n++
		}
	}
	if n == 0 {
		w.t.Fatalf("the section %q of %s has no commands for %s", name, page, machine)
	}
}

func (w *walk) run(b block, machine string) {
	w.t.Helper()
	term := w.terminals[machine]
	if term == nil {
		w.t.Fatalf("%s: there is no machine %q", b, machine)
	}
	stdout, stderr, err := term.run(w.t.Context(), b.script)
	if err != nil {
		w.t.Fatalf("%s, on %s: %v\n%s\nIt printed:\n%s\n%s", b, machine, err, b.script, stdout, stderr)
	}
	if b.want != "" && !prints(b.want).MatchString(stdout) {
		w.t.Fatalf("%s, on %s: it printed\n%s\nwant\n%s\nIts errors:\n%s", b, machine, stdout, b.want, stderr)
	}
}

// on runs a command that is not in the documentation, and returns what it prints.
func (w *walk) on(machine, script string) string {
	w.t.Helper()
	stdout, stderr, err := w.terminals[machine].run(w.t.Context(), script+"\n")
	if err != nil {
		w.t.Fatalf("%s, on %s: %v\n%s\n%s", script, machine, err, stdout, stderr)
	}
	return strings.TrimSpace(stdout)
}

// prints is what a page shows of a command's output as an expression.
func prints(want string) *regexp.Regexp {
	lines := strings.SplitAfter(want, "\n")
	for i, l := range lines {
		if strings.TrimSpace(l) == "..." {
			lines[i] = `(?:.*\n)*?`
			continue
		}
		lines[i] = strings.ReplaceAll(regexp.QuoteMeta(l), `\.\.\.`, `.*`)
	}
	return regexp.MustCompile(`\A` + strings.Join(lines, "") + `\z`)
}

func TestPrints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		match     bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\n", "a\nb\n", false},
		{"a\n...\nc\n", "a\nb\nb\nc\n", true},
		{"a\n...\nc\n", "a\nc\n", true},
		{"a ... c\n", "a b c\n", true},
		{"a ... c\n", "a b d\n", false},
	} {
		if got := prints(c.want).MatchString(c.got); got != c.match {
			t.Errorf("%q shown, %q printed: %v; want %v", c.want, c.got, got, c.match)
		}
	}
}
