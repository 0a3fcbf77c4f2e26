package pack

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	ignoreFile = ".dockerignore"
	// Every file is compared with every pattern, so that an ignore file could
	// cost hours of CPU.
	maxIgnoreFile = 1 << 20
	maxPatterns   = 10_000
	// maxLinks is how many links in a row a file may be behind.
	maxLinks = 8
)

// ignores decides which paths of a directory are left out, as docker build
// does: by <Dockerfile>.dockerignore if there is one, else by .dockerignore.
type ignores struct {
	matcher *patternmatcher.PatternMatcher
	// name of the ignore file, for messages.
	name string

	// exceptions are the patterns that start with !, and anywhere says that
	// one of them may match in any directory; see findExceptions.
	exceptions []string
	anywhere   bool
}

// matched is what the patterns said about a directory, for those below it.
type matched = patternmatcher.MatchInfo

// newIgnores reads the ignore file of a Dockerfile.
func newIgnores(root *os.Root, dockerfile string) (*ignores, error) {
	ig := &ignores{name: dockerfile + ignoreFile}
	patterns, err := readIgnoreFile(root, ig.name)
	if errors.Is(err, fs.ErrNotExist) {
		ig.name = ignoreFile
		patterns, err = readIgnoreFile(root, ig.name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if ig.matcher, err = patternmatcher.New(patterns); err != nil {
		return nil, ignoreFailure(ig.name, err)
	}
	ig.findExceptions()
	return ig, nil
}

// names tells whether an exception is about dir or something in it.
func (ig *ignores) names(dir string) bool {
	return slices.ContainsFunc(ig.exceptions, func(e string) bool { return strings.HasPrefix(e, dir+"/") })
}

// visible tells whether a file, with all links that lead to it, is sent.
func (ig *ignores) visible(root *os.Root, p string) (bool, error) {
	for range maxLinks {
		ignored, err := ig.matcher.MatchesOrParentMatches(p)
		if err != nil {
			return false, ignoreFailure(ig.name, err)
		}
		if ignored {
			return false, nil
		}
		link, target := firstLink(root, p)
		if link == "" {
			return true, nil
		}
		p = path.Join(path.Dir(link), target, strings.TrimPrefix(p, link))
		if path.IsAbs(target) || !filepath.IsLocal(p) {
			return false, nil
		}
	}
	return false, nil
}

// firstLink is the first part of a path that is a symbolic link, with where it
// leads; "" when there is none.
func firstLink(root *os.Root, p string) (link, target string) {
	for i := range len(p) + 1 {
		if i < len(p) && p[i] != '/' {
			continue
		}
		if target, err := root.Readlink(p[:i]); err == nil {
			return p[:i], target
		}
	}
	return "", ""
}

// skip reports whether p is left out, and what the patterns say about the
// paths below it; up is what they said about p's directory.
func (ig *ignores) skip(p string, up matched) (bool, matched, error) {
	if len(ig.matcher.Patterns()) == 0 {
		return false, up, nil
	}
	skip, info, err := ig.matcher.MatchesUsingParentResults(p, up)
	if err != nil {
		return false, info, ignoreFailure(ig.name, err)
	}
	return skip, info, nil
}

// findExceptions prepares prune. An exception counts without a /* or /** at its
// end, and if then any of them still has a wildcard, nothing is pruned at all:
// that is docker's rule, and keeping to it decides in odd cases what is sent,
// not only what is looked at.
func (ig *ignores) findExceptions() {
	for _, p := range ig.matcher.Patterns() {
		if !p.Exclusion() {
			continue
		}
		fixed := strings.TrimSuffix(strings.TrimSuffix(p.String(), "/**"), "/*")
		ig.anywhere = ig.anywhere || strings.ContainsAny(fixed, `*?[]^\`)
		ig.exceptions = append(ig.exceptions, fixed+"/")
	}
}

// prune reports whether the ignored directory dir need not be looked into.
func (ig *ignores) prune(dir string) bool {
	return !ig.anywhere && !ig.names(dir)
}

func readIgnoreFile(root *os.Root, name string) ([]string, error) {
	f, err := openRegular(root, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, ignoreFailure(name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(&io.LimitedReader{R: f, N: maxIgnoreFile + 1})
	if err != nil {
		return nil, ignoreFailure(name, err)
	}
	if len(text) > maxIgnoreFile {
		return nil, jobs.Fail(jobs.KindIgnoreFile, nil, "use patterns instead of a list of files", "%s is larger than %s", name, jobs.Bytes(maxIgnoreFile))
	}
	if n := longLine(text); n > 0 {
		return nil, jobs.Fail(jobs.KindIgnoreFile, nil, "correct it", "line %d of %s is longer than %s", n, name, jobs.Bytes(bufio.MaxScanTokenSize))
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err != nil {
		return nil, ignoreFailure(name, err)
	}
	for _, p := range patterns {
		if strings.ContainsRune(p, 0) {
			return nil, jobs.Fail(jobs.KindIgnoreFile, nil, "correct it", "%s has a pattern with a NUL byte: %q", name, jobs.Clip(p))
		}
		// One at a time, so that it can be told which one is wrong.
		if _, err := patternmatcher.New([]string{p}); err != nil {
			return nil, jobs.Fail(jobs.KindIgnoreFile, err, "correct it", "%s has a pattern that cannot be used: %q: %s", name, jobs.Clip(p), reason(err))
		}
	}
	if len(patterns) > maxPatterns {
		return nil, jobs.Fail(jobs.KindIgnoreFile, nil, "use patterns instead of a list of files", "%s has %d patterns; the limit is %d", name, len(patterns), maxPatterns)
	}
	return patterns, nil
}

func ignoreFailure(name string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindIgnoreFile, err, "correct its patterns and make it a readable file", "%s cannot be used: %s", name, reason(err))
}

// longLine is the number of the first line that is longer than the reader of patterns takes,
// 0 when there is none.
func longLine(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		if n++; len(line) >= bufio.MaxScanTokenSize {
			return n
		}
	}
	return 0
}
