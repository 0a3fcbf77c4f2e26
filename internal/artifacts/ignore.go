package artifacts

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	defaultDockerfile = "Dockerfile"
	ignoreFile        = ".dockerignore"
	// maxIgnoreFile keeps a stranger's ignore file from costing a minute of CPU.
	maxIgnoreFile = 1 << 20
	// maxLinks is how many symbolic links in a row a Dockerfile may be.
	maxLinks = 8
)

// ignores decides which paths of a directory are left out, as docker build
// does: by <Dockerfile>.dockerignore if there is one, else by .dockerignore.
type ignores struct {
	matcher *patternmatcher.PatternMatcher
	// name of the ignore file, for messages.
	name string
	// always is what the build needs whatever the patterns say, and the
	// directories that lead there.
	always map[string]bool

	// exceptions are the patterns that start with !, and anywhere says that
	// one of them may match in any directory; see findExceptions.
	exceptions []string
	anywhere   bool
}

// matched is what the patterns said about a directory, for those below it.
type matched = patternmatcher.MatchInfo

func newIgnores(root *os.Root, dockerfile, dockerfilePath string) (*ignores, error) {
	ig := &ignores{always: make(map[string]bool), name: dockerfile + ignoreFile}
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
	for _, p := range []string{dockerfilePath, ig.name, ignoreFile} {
		ig.keep(root, p)
	}
	return ig, nil
}

// keep sends p, the directories it is in, and what it links to.
func (ig *ignores) keep(root *os.Root, p string) {
	for range maxLinks {
		for q := p; q != "." && q != "/" && q != ".."; q = path.Dir(q) {
			ig.always[q] = true
		}
		target, err := root.Readlink(p)
		if err != nil || path.IsAbs(target) {
			return
		}
		p = path.Join(path.Dir(p), target)
	}
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
	if ig.anywhere || ig.always[dir] {
		return false
	}
	return !slices.ContainsFunc(ig.exceptions, func(e string) bool { return strings.HasPrefix(e, dir+"/") })
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
	r := &io.LimitedReader{R: f, N: maxIgnoreFile + 1}
	patterns, err := ignorefile.ReadAll(r)
	if err != nil {
		return nil, ignoreFailure(name, err)
	}
	if r.N <= 0 {
		return nil, jobs.Fail(jobs.KindContextInvalid, nil, "use patterns instead of a list of files", "%s is larger than %s", name, jobs.Bytes(maxIgnoreFile))
	}
	return patterns, nil
}

func ignoreFailure(name string, err error) *jobs.Failure {
	return jobs.Fail(jobs.KindContextInvalid, err, "correct its patterns and make it a readable file", "%s cannot be used: %s", name, reason(err))
}
