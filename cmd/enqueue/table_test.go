package main

import (
	"strings"
	"testing"
)

// A table fits its terminal: IDs are cut to what they begin with, then the second column.
func TestTableFits(t *testing.T) {
	t.Parallel()
	rows := func() [][]string {
		return [][]string{
			{"ID", "JOB", "STATE", "WORKER"},
			{"01a22da9-c202-72b2-a68b-ab1f89841d98", "registry.example.com/team/app:1.2.3", "✓ succeeded", "anvil"},
			{"nightly-1", "web", "✗ failed", ""},
		}
	}
	for _, tt := range []struct {
		width int
		ascii bool
		want  string
	}{
		{0, false, `ID                                     JOB                                   STATE         WORKER
01a22da9-c202-72b2-a68b-ab1f89841d98   registry.example.com/team/app:1.2.3   ✓ succeeded   anvil
nightly-1                              web                                   ✗ failed
`},
		{75, false, `ID             JOB                                  STATE        WORKER
01a22da9-c202  registry.example.com/team/app:1.2.3  ✓ succeeded  anvil
nightly-1      web                                  ✗ failed
`},
		{50, false, `ID             JOB             STATE        WORKER
01a22da9-c202  registry.exam…  ✓ succeeded  anvil
nightly-1      web             ✗ failed
`},
		{50, true, `ID             JOB             STATE        WORKER
01a22da9-c202  registry.ex...  ✓ succeeded  anvil
nightly-1      web             ✗ failed
`},
		{20, false, `ID             JOB
01a22da9-c202  regis
nightly-1      web
`},
	} {
		var got strings.Builder
		if err := writeTable(&got, rows(), tt.width, tt.ascii); err != nil || trimmed(got.String()) != trimmed(tt.want) {
			t.Errorf("in %d columns, %v:\n%s\nwant\n%s", tt.width, err, got.String(), tt.want)
		}
	}
}

// trimmed is a text without spaces at the ends of its lines.
func trimmed(text string) string {
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		lines = append(lines, strings.TrimRight(l, " "))
	}
	return strings.Join(lines, "\n")
}

func TestASCII(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C"}, true},
		{map[string]string{"LANG": "de_DE.UTF-8"}, false},
		{map[string]string{"LANG": "C.utf8"}, false},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, true},
		{map[string]string{"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, false},
		{map[string]string{"LANG": "de_DE.UTF-8", "TERM": "dumb"}, true},
		{map[string]string{"LANG": "de_DE.ISO-8859-1"}, true},
	} {
		a := newApp(process{getenv: func(name string) string { return tt.env[name] }})
		if got := a.ascii(); got != tt.want {
			t.Errorf("%v: ASCII %t; want %t", tt.env, got, tt.want)
		}
		if state := a.paint(nil).state("succeeded"); tt.want != (state == "+ succeeded") {
			t.Errorf("%v: %q", tt.env, state)
		}
	}
}

// What a table shows of an ID can be typed: it is a beginning, and no other's.
func TestShortID(t *testing.T) {
	t.Parallel()
	const a, b, c = "01a22e64-625b-7046-b342-3b19fe48f37a", "01a22e64-625b-7049-b342-3b19fe48f37a", "01a22e65-0000-7046-b342-3b19fe48f37a"
	among := map[string]string{a: "", b: "", c: "", "nightly-2026-11-30-of-the-main-branch": ""}
	for id, want := range map[string]string{
		a: "01a22e64-625b-7046", b: "01a22e64-625b-7049", c: "01a22e65-0000",
		"nightly-2026-11-30-of-the-main-branch": "nightly-2026-11-30-of-the-main-branch",
	} {
		if got := shortID(id, among); got != want {
			t.Errorf("shortID(%s) = %s, want %s", id, got, want)
		}
	}
}
