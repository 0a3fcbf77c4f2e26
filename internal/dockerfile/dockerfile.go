// Package dockerfile reads a Dockerfile before anything is built, with the
// parser of BuildKit: whether it can be parsed at all, and whether it asks for
// something that the operator does not allow. The worker calls it after the
// context is fetched, the enqueue command before it is sent.
//
// It judges the text alone. What a base image does with its environment or its
// ONBUILD triggers shows only in the build; the network that builds can reach
// is the place to bound that.
package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// File is a Dockerfile with its path inside the context.
type File struct {
	Name    string
	Content []byte
}

// Parse refuses a Dockerfile that no engine could build.
func Parse(d File) error {
	_, err := parse(d)
	return err
}

// parsed is a Dockerfile in its instructions.
type parsed struct {
	ast    *parser.Result
	stages []instructions.Stage
	args   []instructions.ArgCommand
}

func parse(d File) (parsed, error) {
	var p parsed
	if len(bytes.TrimSpace(d.Content)) == 0 {
		return p, invalid(d.Name, 0, "it is empty", nil)
	}
	var err error
	p.ast, err = parser.Parse(bytes.NewReader(d.Content))
	if err != nil && strings.Contains(err.Error(), "unterminated heredoc") {
		// An engine that does not know here-documents takes << for what the shell
		// makes of it, such as a shift; the others will say what this says.
		p.ast, err = parser.Parse(bytes.NewReader(bytes.ReplaceAll(d.Content, []byte("<<"), []byte("<.<"))))
	}
	if err == nil {
		p.stages, p.args, err = instructions.Parse(p.ast.AST, lint())
	}
	if err != nil {
		line, text := locate(err)
		return p, invalid(d.Name, line, text, err)
	}
	if len(p.stages) == 0 {
		return p, invalid(d.Name, 0, "it has no FROM", nil)
	}
	return p, nil
}

// lint is a linter that says nothing. The parser asks it about "# check" comments,
// and does not do without.
func lint() *linter.Linter { return linter.New(&linter.Config{SkipAll: true}) }

func invalid(name string, line int, text string, err error) *jobs.Failure {
	if line > 0 {
		return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile", "%s line %d: %s", name, line, text)
	}
	return jobs.Fail(jobs.KindDockerfileInvalid, err, "correct the Dockerfile", "%s: %s", name, text)
}

var (
	lineErrorPattern = regexp.MustCompile(`^[Dd]ockerfile parse error (?:on )?line (\d+): (.*)`)
	noStagePattern   = regexp.MustCompile(`no build stage in current context`)
)

// locate finds the line of a parser's error, 0 when it has none, and its words.
func locate(err error) (line int, text string) {
	text, _, _ = strings.Cut(err.Error(), "\n")
	if at, ok := errors.AsType[*parser.LocationError](err); ok && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		line = at.Locations[0][0].Start.Line
	}
	if found := lineErrorPattern.FindStringSubmatch(text); found != nil {
		_, _ = fmt.Sscan(found[1], &line)
		text = found[2]
	}
	if noStagePattern.MatchString(text) {
		text = "the first instruction must be FROM"
	}
	return line, printable(text)
}

// printable is a parser's text, which quotes the Dockerfile, fit for a message.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, text)
	return fmt.Sprintf("%.300s", text)
}
