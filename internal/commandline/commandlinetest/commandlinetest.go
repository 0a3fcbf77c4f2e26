// Package commandlinetest finds the commands that the documentation gives to people, so
// that the tests of a program can hold each to what the program takes. The tests of
// cmd/worker and cmd/enqueue call it.
package commandlinetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is a command line in the documentation.
type Command struct {
	// Where is the file and the line.
	Where string
	// Args are what follows the name of the program.
	Args []string
	// InWords says that the text names it, and may leave arguments out.
	InWords bool
}

// Documented returns the commands of a program in these files, of which there must be some:
// those in sh blocks, those after "$ " in console blocks, and those in the words of the text.
func Documented(t *testing.T, program string, files ...string) (all []Command) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, find(filepath.Base(file), program, string(text))...)
	}
	if len(all) == 0 {
		t.Fatalf("%d files have no command of %s", len(files), program)
	}
	return all
}

// find returns the commands of a program in a text.
func find(name, program, text string) (all []Command) {
	const outside = "outside"
	inside, line, begun, number := outside, "", 0, 0
	for l := range strings.Lines(text) {
		number++
		l = strings.TrimSpace(l)
		if language, ok := strings.CutPrefix(l, "```"); ok {
			if inside != outside {
				language = outside
			}
			inside = language
			continue
		}
		switch inside {
		case "sh":
		case "console":
			command, ok := strings.CutPrefix(l, "$ ")
			if more, continued := strings.CutPrefix(l, "> "); line != "" && continued {
				command, ok = more, true
			}
			if !ok {
				continue
			}
			l = command
		case outside:
			all = append(all, inWords(fmt.Sprintf("%s:%d", name, number), program, l)...)
			continue
		default:
			continue
		}
		if line == "" {
			begun = number
		}
		if more, ok := strings.CutSuffix(l, "\\"); ok {
			line += more + " "
			continue
		}
		for _, words := range split(line + l) {
			if args, ok := argsOf(program, words); ok {
				all = append(all, Command{fmt.Sprintf("%s:%d", name, begun), args, false})
			}
		}
		line = ""
	}
	return all
}

// inWords returns the commands of a program that a line of text has between backticks.
func inWords(where, program, line string) (all []Command) {
	for i, code := range strings.Split(line, "`") {
		if i%2 == 0 || !strings.HasPrefix(code, program+" ") || strings.Contains(code, "...") {
			continue // no code, another command, or a part of one
		}
		for _, words := range split(code) {
			if args, ok := argsOf(program, words); ok {
				all = append(all, Command{where, args, true})
			}
		}
	}
	return all
}

// argsOf are what follows a program in the words of a command, which may set variables
// before it, or be one that runs another.
func argsOf(program string, words []string) ([]string, bool) {
	for len(words) > 0 && (slices.Contains([]string{"do", "then", "until", "while", "if", "!"}, words[0]) || isAssignment(words[0])) {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, false
	}
	at := 0
	if slices.Contains([]string{"sudo", "systemd-run"}, words[0]) {
		at = slices.IndexFunc(words, func(w string) bool { return filepath.Base(w) == program })
	}
	if at < 0 || filepath.Base(words[at]) != program {
		return nil, false
	}
	return words[at+1:], true
}

func isAssignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !unicode.IsUpper(r) && !unicode.IsDigit(r) })
}

// split cuts a line of shell into commands and words, as far as documentation needs it:
// quotes, comments, $(...), and what separates commands.
func split(line string) (commands [][]string) {
	var words []string
	var word strings.Builder
	quote, open := rune(0), false
	endWord := func() {
		if open {
			words = append(words, word.String())
		}
		word.Reset()
		open = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == '#' && !open:
			endCommand()
			return commands
		case r == ' ' || r == '\t':
			endWord()
		case strings.ContainsRune("|&;()", r):
			endCommand()
		case r == '>' || r == '<':
			if word.String() == "2" { // of stderr
				word.Reset()
				open = false
			}
			endCommand() // what follows is a file
		default:
			word.WriteRune(r)
			open = true
		}
	}
	endCommand()
	return commands
}

// Check fails the test when a program does not take a command. root is the program's, new
// for each command.
func Check(t *testing.T, root *cobra.Command, c Command) {
	t.Helper()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(c.Args)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	var noValue *pflag.ValueRequiredError
	switch {
	case errors.Is(err, pflag.ErrHelp), c.InWords && errors.As(err, &noValue):
		return
	case err == nil && cmd == root && root.HasSubCommands() && cmd.Flags().NArg() > 0:
		err = fmt.Errorf("unknown verb %q", cmd.Flags().Arg(0))
	case err == nil && (!c.InWords || cmd.Flags().NArg() > 0):
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil {
		t.Errorf("%s: %s %q: %v", c.Where, root.Name(), c.Args, err)
	}
}
