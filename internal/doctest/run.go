package doctest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Options are what a page needs to run.
type Options struct {
	// Command makes the shell's process; nil is [exec.CommandContext].
	Command func(ctx context.Context, argv ...string) *exec.Cmd
	// Dir is the working directory at the beginning.
	Dir string
	// Env is the whole environment.
	Env []string
	// NotRun has the first lines of blocks that are not run, each with the reason.
	NotRun map[string]string
	// Limit is how long a command may take; 0 is two minutes.
	Limit time.Duration
	// Replace are texts that differ from run to run and have another on the page: that of the run
	// and that of the page in turns. Commands get that of the run.
	Replace []string
	// Before has what happens in the world before a block, by its first line.
	Before map[string]func()
	// Update writes outputs that differ to the page.
	Update bool
}

// Run runs the console and sh blocks of a page in one session, and fails the test for each
// command that does not print what the page says. After a command that did not end, or an sh
// block that failed, it runs no more. Each block is run, is named in NotRun, or is no command.
func Run(t *testing.T, file string, o Options) {
	t.Helper()
	problems, err := run(t.Context(), file, o)
	for _, p := range problems {
		t.Error(p)
	}
	if err != nil {
		t.Error(err)
	}
}

// run is Run without a test.
func run(ctx context.Context, file string, o Options) (problems []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	if o.Limit == 0 {
		o.Limit = 2 * time.Minute
	}
	r := &runner{
		o: o, file: file, page: strings.Split(string(text), "\n"), shapes: newShapes(), names: newNames(),
		notice: regexp.MustCompile(`^\[\d+\][-+ ] +(Done|Exit|Terminated|Killed)\b`),
	}
	all, err := toRun(string(text), o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	s, err := start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, one := range all {
		if one.before != nil {
			one.before()
		}
		if !r.step(s, one) {
			break
		}
	}
	if !o.Update {
		return r.problems, nil
	}
	if err := os.WriteFile(file, []byte(strings.Join(r.page, "\n")), 0o644); err != nil {
		return nil, fmt.Errorf("update the page: %w", err)
	}
	return r.problems, nil
}

// toRun returns the commands of a page but those of the blocks that are not run. There must be
// each block that the options name.
func toRun(page string, o Options) (all []step, err error) {
	var errs []error
	left := map[string]bool{}
	for first := range o.NotRun {
		left[first] = true
	}
	for first := range o.Before {
		left[first] = true
	}
	for _, b := range Blocks(page) {
		first := ""
		if len(b.Lines) > 0 {
			first = strings.TrimSpace(b.Lines[0])
		}
		delete(left, first)
		switch _, skipped := o.NotRun[first]; {
		case skipped:
		case b.runs():
			steps := b.steps()
			if len(steps) > 0 {
				steps[0].before = o.Before[first]
			}
			all = append(all, steps...)
		case !slices.Contains(NoCommands(), b.Language):
			errs = append(errs, fmt.Errorf("line %d: a block of %q: say console or sh, or what it is", b.Line, b.Language))
		}
	}
	for first := range left {
		errs = append(errs, fmt.Errorf("no block begins with %q", first))
	}
	if len(all) == 0 && len(o.NotRun) == 0 {
		errs = append(errs, errors.New("it has no command to run"))
	}
	return all, errors.Join(errs...)
}

// runner runs the steps of a page.
type runner struct {
	o        Options
	file     string
	shapes   shapes
	names    *names
	notice   *regexp.Regexp
	problems []string
	// page is the file by line; moved is how many lines were added to it so far.
	page  []string
	moved int
}

// problem notes what is wrong with a step.
func (r *runner) problem(one step, format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf("%s:%d: $ %s\n", r.file, one.line, strings.Join(one.command, "\n> "))+fmt.Sprintf(format, args...))
}

// step runs a command and compares, and reports whether the next one makes sense.
func (r *runner) step(s *session, one step) bool {
	reverse := slices.Clone(r.o.Replace)
	slices.Reverse(reverse)
	command := strings.NewReplacer(reverse...).Replace(r.names.command(strings.Join(one.command, "\n")))
	if one.silent {
		command = "{ set -e\n" + command + "\nset +e\n}"
	}
	got, code, err := s.run(command, r.o.Limit, r.press(one))
	got = r.shown(got)
	if err != nil {
		r.problem(one, "%v; it has printed\n%s", err, strings.Join(got, "\n"))
		return false
	}
	if one.silent {
		return true
	}
	if code != 0 && len(got) == 0 {
		r.problem(one, "exit code %d, and no word of it", code)
		return true
	}
	pairs, ok := r.shapes.match(one.want, got, true)
	if ok {
		err = r.names.learn(pairs)
	}
	if !ok {
		r.names.guess(one.want, got) // for the commands below
	}
	switch {
	case ok && err == nil:
	case r.o.Update:
		r.update(one, r.names.output(got))
	case ok:
		r.problem(one, "%v", err)
	default:
		r.problem(one, "exit code %d; the page (-) and what was printed (+):\n%s", code, cmp.Diff(r.plain(one.want), r.plain(got)))
	}
	return true
}

// press says when it is time for Ctrl-C; nil is never.
func (r *runner) press(one step) func([]string) bool {
	at := slices.Index(one.want, ctrlC)
	if at <= 0 {
		return nil
	}
	before := one.want[:at]
	if r.o.Update { // what is above may be new
		before = []string{anything, one.want[at-1]}
	}
	return func(lines []string) bool {
		_, ok := r.shapes.match(before, r.shown(lines), false)
		return ok
	}
}

// plain is what a person compares: what differs from run to run is no difference.
func (r *runner) plain(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = r.shapes.plain(line)
	}
	return out
}

// shown is an output as a page has it: without what the shell says of the ends of commands in the
// background, which it does when it has found out.
func (r *runner) shown(lines []string) (out []string) {
	replace := strings.NewReplacer(r.o.Replace...)
	for _, line := range lines {
		if !r.notice.MatchString(line) {
			out = append(out, replace.Replace(line))
		}
	}
	return out
}

// update puts another output below a command.
func (r *runner) update(one step, got []string) {
	from := one.line - 1 + r.moved + len(one.command)
	indented := make([]string, len(got))
	for i, line := range got {
		indented[i] = strings.TrimRight(one.indent+line, " ")
	}
	r.page = slices.Replace(r.page, from, from+len(one.want), indented...)
	r.moved += len(got) - len(one.want)
}
