package doctest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/doctest"
)

// README.zh-CN.md is README.md in another language: it has the same commands, outputs, headings
// and links. Copy what has changed.
func TestReadmes(t *testing.T) {
	t.Parallel()
	text, blocks := make([]string, 2), make([][]string, 2)
	for i, name := range []string{"README.md", "README.zh-CN.md"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		text[i] = string(raw)
		for _, b := range doctest.Blocks(text[i]) {
			blocks[i] = append(blocks[i], b.Language+"\n"+b.Text())
		}
	}
	if len(blocks[0]) < 5 {
		t.Errorf("README.md has %d blocks; want those of its commands", len(blocks[0]))
	}
	if diff := cmp.Diff(blocks[0], blocks[1]); diff != "" {
		t.Errorf("the blocks of README.md (-) and README.zh-CN.md (+) differ:\n%s", diff)
	}
	for what, pattern := range map[string]*regexp.Regexp{
		"links":    regexp.MustCompile(`\]\(([^)]*)\)`),
		"headings": regexp.MustCompile(`(?m)^(#+) `),
	} {
		var found [2][]string
		for i := range text {
			for _, m := range pattern.FindAllStringSubmatch(text[i], -1) {
				if m[1] != "README.md" && m[1] != "README.zh-CN.md" { // each leads to the other
					found[i] = append(found[i], m[1])
				}
			}
		}
		if diff := cmp.Diff(found[0], found[1]); diff != "" {
			t.Errorf("the %s of README.md (-) and README.zh-CN.md (+) differ:\n%s", what, diff)
		}
	}
}

// Each block of a page says what it is, so that none has commands that no test has seen.
func TestLanguages(t *testing.T) {
	t.Parallel()
	known := append([]string{"console", "sh"}, doctest.NoCommands()...)
	for _, page := range pages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range doctest.Blocks(string(raw)) {
			if !slices.Contains(known, b.Language) {
				t.Errorf("%s:%d: a block of %q; want one of %q", page, b.Line, b.Language, known)
			}
		}
	}
}

// pages are those of the documentation.
func pages(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// Each link between pages leads to a file and, with #, to a heading of it.
func TestLinks(t *testing.T) {
	t.Parallel()
	links := 0
	for _, page := range pages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^):#]*)(#[^)]*)?\)`).FindAllStringSubmatch(string(raw), -1) {
			links++
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s: %v", page, m[1], err)
			} else if heading := strings.TrimPrefix(m[2], "#"); heading != "" && !slices.Contains(headings(t, target), heading) {
				t.Errorf("%s: %s has no heading #%s", page, target, heading)
			}
		}
	}
	if links < 100 {
		t.Errorf("%d links; want those of the documentation", links)
	}
}

// headings are those of a page, as links have them.
func headings(t *testing.T, page string) (all []string) {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(string(raw), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return all
}
