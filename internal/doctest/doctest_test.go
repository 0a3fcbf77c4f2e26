package doctest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write makes a page whose blocks stand between lines of three apostrophes, so that it can stand in this file.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "'''", "```")), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	return Options{Dir: dir, Env: append(os.Environ(), "TERM=dumb"), Limit: 20 * time.Second, Replace: []string{dir, "/home/ada"}}
}

// right is a page that says what its commands print, in each way that a page may.
const right = `# A page
'''console
$ pwd
/home/ada
$ cd /; x=1 && export y=2
'''

    '''console
    $ echo $x$y; pwd
    12
    /
    '''

'''go
$ this is no command
'''

'''sh
z=3   # lives on
true &&
  test "$z" = 3
'''

'''console
$ cat <<EOF
> a $z
> EOF
a 3
$ (echo seven; exit 7)
seven
$ echo $?; echo to stderr >&2
7
to stderr
$ seq 100
1
...
99
...
$ echo one two three; echo; echo four
one ... three

...
$ echo id: 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b
id: 019ffff1-0000-7000-8000-000000000001
$ echo 019ffff1 019ffff1-0000-7000 019ffff2
019a0b1c 019a0b1c-2d3e-7f40 019ffff2
$ echo "1.5s 3m  2026-11-30 21:12:40 4.0 KiB sha256:0123456789abcdef"
12ms 1h2m3s 2025-01-02 03:04:05 17 B sha256:fedcba9876543210
$ sleep 60 &
[1] 4711
$ sh -c 'trap "echo caught; exit 3" INT; echo begin; while :; do sleep 0.01; done'
begin
^C
caught
$ echo $?
3
$ kill %1; wait
$ test -t 0 && test -t 1 && test -t 2 && echo a terminal
a terminal
'''
`

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, page string
		notRun     map[string]string
		// want are parts of the problems, one for each.
		want []string
	}{
		{name: "right", page: right},
		{name: "nothing", page: "'''go\nx\n'''\n", want: []string{"has no command to run"}},
		{name: "not run", page: "'''sh\nexit 1\nexit 2\n'''\n'''sh\ntrue\n'''\n", notRun: map[string]string{"exit 1": "it ends the shell"}},
		{name: "no longer there", page: "'''sh\ntrue\n'''\n", notRun: map[string]string{"exit 1": "it ends the shell"}, want: []string{`no block begins with "exit 1"`}},
		{name: "another language", page: "'''sh\ntrue\n'''\n'''bash\ntrue\n'''\n", want: []string{`line 5: a block of "bash"`}},
		{name: "another word", page: "'''console\n$ echo a\nb\n$ echo c\nd\n'''\n", want: []string{":2: $ echo a\nexit code 0", ":4: $ echo c"}},
		{name: "less", page: "'''console\n$ seq 3\n1\n2\n'''\n", want: []string{"$ seq 3"}},
		{name: "more", page: "'''console\n$ seq 1\n1\n2\n'''\n", want: []string{"$ seq 1"}},
		{name: "silence", page: "'''console\n$ true\n1\n'''\n", want: []string{"$ true"}},
		{name: "a silent failure", page: "'''console\n$ false\n'''\n", want: []string{"exit code 1, and no word of it"}},
		{name: "a block that fails", page: "'''sh\necho here\nfalse\necho there\n'''\n'''sh\ntouch on\n'''\n", want: []string{"the shell has ended; it has printed\nhere"}},
		{name: "another ID", page: "'''console\n$ for i in 1 2; do echo 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1$i; done\n" +
			"019ffff1-0000-7000-8000-000000000001\n019ffff1-0000-7000-8000-000000000001\n'''\n", want: []string{"stood for 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a11 before"}},
		{name: "no end", page: "'''console\n$ sleep 1000\n$ echo on\n'''\n", want: []string{"has not ended in time"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.NotRun = tc.notRun
			if tc.name == "no end" {
				o.Limit = 200 * time.Millisecond
			}
			problems, err := run(t.Context(), write(t, tc.page), o)
			if err != nil {
				problems = append(problems, err.Error())
			}
			if len(problems) != len(tc.want) {
				t.Fatalf("%d problems, want %d:\n%s", len(problems), len(tc.want), strings.Join(problems, "\n"))
			}
			for i, want := range tc.want {
				if !strings.Contains(problems[i], want) {
					t.Errorf("problem %q has no %q", problems[i], want)
				}
			}
		})
	}
}

// An update writes what commands print, in place of what differs alone.
func TestUpdate(t *testing.T) {
	t.Parallel()
	file := write(t, `words
  '''console
  $ echo 1s; seq 3
  2s
  ...
  $ echo b
  a
  ...
  $ seq 2
  '''
words
'''console
$ echo 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b
019ffff1-0000-7000-8000-000000000001
$ echo again 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b; echo new 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1c
$ echo other 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1d
019ffff1-0000-7000-8000-000000000002
$ echo 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1d
$ sh -c 'trap "exit 3" INT; echo before; echo begin; while :; do sleep 0.01; done'
begin
^C
'''
`)
	want := strings.ReplaceAll(`words
  '''console
  $ echo 1s; seq 3
  2s
  ...
  $ echo b
  b
  $ seq 2
  1
  2
  '''
words
'''console
$ echo 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b
019ffff1-0000-7000-8000-000000000001
$ echo again 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b; echo new 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1c
again 019ffff1-0000-7000-8000-000000000001
new 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1c
$ echo other 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1d
other 019ffff1-0000-7000-8000-000000000002
$ echo 019a0b1c-2d3e-7f40-8a5b-6c7d8e9f0a1d
019ffff1-0000-7000-8000-000000000002
$ sh -c 'trap "exit 3" INT; echo before; echo begin; while :; do sleep 0.01; done'
before
begin
^C
'''
`, "'''", "```")
	for range 2 { // what was written is right
		o := options(t)
		o.Update = true
		if problems, err := run(t.Context(), file, o); err != nil || len(problems) > 0 {
			t.Fatalf("%v\n%s", err, strings.Join(problems, "\n"))
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != want {
			t.Errorf("the page is now (%v)\n%s\nwant\n%s", err, got, want)
		}
	}
}

// Nothing that a page has started is left.
func TestEnd(t *testing.T) {
	t.Parallel()
	o := options(t)
	s, err := start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	lines, code, err := s.run(`(trap "" HUP; sleep 60) & sleep 60 & sh -c "sleep 60; sleep 60" & sleep 60 | cat & jobs -p >/dev/null`, o.Limit, nil)
	if err != nil || code != 0 || len(lines) != 4 {
		t.Fatalf("%q, exit code %d, %v", lines, code, err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if left := s.members(); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ line, want string }{
		{"built in 1m2.5s", "built in <duration>"},
		{"up since 2026-11-30T21:12:40Z", "up since <time>"},
		{"21:12:40.123  x", "<time> x"},
		{"127.0.0.1:8080 and 10m, 3 files", "127.0.0.1:8080 and <duration>, 3 files"},
		{"context: 3 files, 4.0 KiB (512 B sent), sha256:7b0c11223344", "context: 3 files, <size> (<size> sent), <digest>"},
		{"as sha256:0123..., by sha256:0123456789abcdef, 01234567...", "as <digest>, by <digest>, <digest>"},
		{"-m 64m -e a=b", "-m <duration> -e a=b"},
	} {
		if got := newShapes().plain(tc.line); got != tc.want {
			t.Errorf("%q is compared as %q, want %q", tc.line, got, tc.want)
		}
	}
	if want := []string{"a", "..."}; !slices.Equal(split("a\r\n...\n\n"), want) {
		t.Errorf("split = %q, want %q", split("a\r\n...\n\n"), want)
	}
}
