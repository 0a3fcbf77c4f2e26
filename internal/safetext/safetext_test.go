package safetext

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// told is what a parser told of text that comes in pieces: characters as they are, colours in
// braces.
func told(pieces ...string) string {
	var b strings.Builder
	var p Parser
	for _, piece := range pieces {
		p.Parse([]byte(piece), func(r rune) { b.WriteRune(r) }, func(seq []byte) { fmt.Fprintf(&b, "{%s}", seq[2:]) })
	}
	return b.String()
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"plain\r\n", "plain\r\n"},
		{"\x1b[1;31mred\x1b[m", "{1;31m}red{m}"},
		{"\x1b[38:2::1:2:3mx", "{38:2::1:2:3m}x"},
		{"a\x1b[>4;2mb\x1b[2Jc\x1b[?25ld", "abcd"},
		{"a\x1b]0;title\x07b\x1b]8;;https://evil.example\x1b\\c\x1bPq\x1b[31m\x1b\\d", "abcd"},
		{"a\x1b]52;c;ZXZpbA==\nb", "a\nb"},
		{"a\x1b(0b\x1bcd", "abd"},
		{"a\x1b[31\nb\x1b[3\x1b[32mc", "a\nb{32m}c"},
		{"a\x1b[3é\x1bé\x1b\nb", "aéé\nb"},
		{"a\x1b[" + strings.Repeat("1;", 100) + "mb", "ab"},
		{"a\x9bb\xffé\u009bc", "a\ufffdb\ufffdé\u009bc"},
	} {
		if got := told(tt.in); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
		if got := told(strings.Split(tt.in, "")...); got != tt.want {
			t.Errorf("%q in pieces: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	for _, r := range "a\t é日👩\u200d" {
		if Visible(r) != r {
			t.Errorf("%q is replaced", r)
		}
	}
	for _, r := range "\x00\x07\x08\n\r\x1b\x7f\u0080\u0085\u009b\u061c\u200b\u200e\u202e\u2028\u2029\u2066\u2069\ufeff\U000e0041" {
		if got := Visible(r); got != unicode.ReplacementChar {
			t.Errorf("%q stays", r)
		}
	}
}

// JSON means what it meant, and nothing in it acts.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"plain", "é日👩", "\u202e\u2066\u009b\x7f", "\u2028\u0085", "\U000e0041", "\xff", `\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		safe := JSON(raw)
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &got); err != nil || got != want {
			t.Errorf("%q became %s, which is %q (%v)", s, safe, got, err)
		}
		for _, r := range string(safe) {
			if Visible(r) != r {
				t.Errorf("%q is left in %s", r, safe)
			}
		}
	})
}
