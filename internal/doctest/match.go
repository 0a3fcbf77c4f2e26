package doctest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// anything is what stands for any lines or any text.
const anything = "..."

// shapes are what differs from run to run, and the word that all of a kind are compared as. The
// order counts: what was recognised is not looked at again.
type shapes []shape

type shape struct {
	word    string
	pattern *regexp.Regexp
}

// idPattern is a job's ID.
const idPattern = `\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b`

func newShapes() shapes {
	return shapes{
		{"<id>", regexp.MustCompile(idPattern)},
		{"<digest>", regexp.MustCompile(`\bsha256:([0-9a-f]{4,64}\.\.\.|[0-9a-f]{6,64}\b)`)},
		{"<digest>", regexp.MustCompile(`\b([0-9a-f]{8,64}\.\.\.|[0-9a-f]{12,64}\b)`)},
		{"<time>", regexp.MustCompile(`\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?\b`)},
		{"<time>", regexp.MustCompile(`\b\d\d:\d\d(:\d\d(\.\d+)?)?\b`)},
		{"[<number>] <process>", regexp.MustCompile(`^\[\d+\] \d+$`)}, // what a shell says of a command in the background
		{"<size>", regexp.MustCompile(`\b\d+(\.\d+)? ?(B|[KMGT]i?B|kB)\b`)},
		{"<duration>", regexp.MustCompile(`\b(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?(ms|µs|s)|\d+[dhm])?\b`)},
	}
}

// plain is a line with what differs from run to run taken out.
func (s shapes) plain(line string) string {
	for _, shape := range s {
		line = shape.pattern.ReplaceAllStringFunc(line, func(found string) string {
			if found == "" {
				return ""
			}
			return shape.word
		})
	}
	return strings.Join(strings.Fields(line), " ")
}

// same reports whether a line of output is what a line of a page says.
func (s shapes) same(want, got string) bool {
	parts := strings.Split(s.plain(want), anything)
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(strings.TrimSpace(part))
	}
	if len(parts) == 1 {
		return s.plain(want) == s.plain(got)
	}
	pattern, err := regexp.Compile("^" + strings.Join(parts, ".*") + "$")
	return err == nil && pattern.MatchString(s.plain(got))
}

// pair is a line of a page and the line of output that it stands for.
type pair struct{ want, got string }

// match pairs the lines of a page with those of an output, and reports whether they agree. A
// whole match uses all of the output.
func (s shapes) match(want, got []string, whole bool) ([]pair, bool) {
	if len(want) == 0 {
		return nil, !whole || len(got) == 0
	}
	if strings.TrimSpace(want[0]) == anything {
		for skip := 0; skip <= len(got); skip++ {
			if pairs, ok := s.match(want[1:], got[skip:], whole); ok {
				return pairs, true
			}
		}
		return nil, false
	}
	if len(got) == 0 || !s.same(want[0], got[0]) {
		return nil, false
	}
	pairs, ok := s.match(want[1:], got[1:], whole)
	return append([]pair{{want[0], got[0]}}, pairs...), ok
}

// names are the IDs of a page, and the hashes of plans, and those that the run has in their
// places.
type names struct {
	id     *regexp.Regexp
	begin  *regexp.Regexp
	byPage map[string]string
	byRun  map[string]string
}

func newNames() *names {
	return &names{regexp.MustCompile(idPattern + `|\b[0-9a-f]{16}\b`), regexp.MustCompile(`\b[0-9a-f]{8}[0-9a-f-]*`), map[string]string{}, map[string]string{}}
}

// learn notes which IDs stand for which, and says where that contradicts what it knows.
func (n *names) learn(pairs []pair) error {
	for _, p := range pairs {
		page, run := n.id.FindAllString(p.want, -1), n.id.FindAllString(p.got, -1)
		if len(page) != len(run) {
			continue // the page leaves some of them out
		}
		for i := range page {
			if err := n.bind(page[i], run[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// guess takes the IDs of an output for those of what stood in its place, if there are as many, so
// that the page goes on to call them by these.
func (n *names) guess(want, got []string) {
	page, run := n.distinct(want), n.distinct(got)
	if len(page) != len(run) {
		return
	}
	for i := range page {
		_ = n.bind(page[i], run[i]) // what is known better stays
	}
}

func (n *names) distinct(lines []string) (ids []string) {
	for _, id := range n.id.FindAllString(strings.Join(lines, "\n"), -1) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (n *names) bind(page, run string) error {
	if known, ok := n.byPage[page]; ok && known != run {
		return fmt.Errorf("%s on the page stood for %s before, and now for %s", page, known, run)
	}
	if known, ok := n.byRun[run]; ok && known != page {
		return fmt.Errorf("%s stands on the page as %s and as %s", run, known, page)
	}
	n.byPage[page], n.byRun[run] = run, page
	return nil
}

// command is a command of the page for the run.
func (n *names) command(text string) string {
	return n.begin.ReplaceAllStringFunc(text, func(word string) string {
		found := ""
		for page, run := range n.byPage {
			if strings.HasPrefix(page, word) {
				if found != "" {
					return word // the page has not said which
				}
				found = run[:len(word)]
			}
		}
		return cmp.Or(found, word)
	})
}

// output is an output of the run for the page.
func (n *names) output(lines []string) []string {
	lines = slices.Clone(lines)
	for i, line := range lines {
		lines[i] = n.id.ReplaceAllStringFunc(line, func(run string) string {
			if page, ok := n.byRun[run]; ok {
				return page
			}
			_ = n.bind(run, run) // it is new on both sides
			return run
		})
	}
	return lines
}
