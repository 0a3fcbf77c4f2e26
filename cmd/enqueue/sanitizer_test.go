package main

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/slipway-farm/slipway/internal/safetext"
)

func TestSanitizer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
		noColor        bool
	}{
		{name: "text", in: "hello\tworld\r\nπ ✓\n", want: "hello\tworld\r\nπ ✓\n"},
		{name: "colour stays", in: "\x1b[1;31mred\x1b[0m", want: "\x1b[1;31mred\x1b[0m"},
		{name: "true colour stays", in: "\x1b[38:2::1:2:3mx", want: "\x1b[38:2::1:2:3mx"},
		{name: "colour goes", in: "\x1b[1;31mred\x1b[0m", want: "red", noColor: true},
		{name: "private m is no colour", in: "a\x1b[>4;2mb", want: "ab"},
		{name: "cursor moves", in: "a\x1b[2Jb\x1b[10;10Hc\x1b[1Ad\x1b[Ke", want: "abcde"},
		{name: "modes", in: "\x1b[?1049hfull\x1b[?25l", want: "full"},
		{name: "title, bell", in: "a\x1b]0;title\x07b", want: "ab"},
		{name: "title, string terminator", in: "a\x1b]0;title\x1b\\b", want: "ab"},
		{name: "clipboard", in: "\x1b]52;c;cm0gLXJm\x07x", want: "x"},
		{name: "unfinished string ends with the line", in: "a\x1b]0;title\nb\n", want: "a\nb\n"},
		{name: "escape inside a string", in: "\x1bPq\x1b[31m\x1b\\x", want: "x"},
		{name: "device control", in: "a\x1bP1$r0m\x1b\\b\x1b_app\x1b\\c", want: "abc"},
		{name: "c1 as utf-8", in: "a\u009b31mb\u009d0;t\u0007c", want: "a31mb0;tc"},
		{name: "c1 as bytes", in: "a\x9b31mb\x90c", want: "a\ufffd31mb\ufffdc"},
		{name: "charset", in: "a\x1b(0b\x1b)Bc", want: "abc"},
		{name: "reset", in: "a\x1bcb", want: "ab"},
		{name: "controls", in: "a\x00\x05\x07\x08\x0e\x7fb", want: "ab"},
		{name: "not utf-8", in: "a\xffb\xc3", want: "a\ufffdb"},
		{name: "bidi, zero width", in: "a\u202eexe.gpj\u2066b\u200bc\u2028", want: "a\ufffdexe.gpj\ufffdb\ufffdc\ufffd"},
		{name: "emoji", in: "👩\u200d🚀", want: "👩\u200d🚀"},
		{name: "broken sequence", in: "a\x1b[31\nb", want: "a\nb"},
		{name: "escape in a sequence", in: "\x1b[3\x1b[32mg", want: "\x1b[32mg"},
		{name: "endless parameters", in: "a\x1b[" + string(bytes.Repeat([]byte("1;"), 100)) + "mb", want: "ab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := string(clean([]byte(tt.in), !tt.noColor)); got != tt.want {
				t.Errorf("whole: got %q, want %q", got, tt.want)
			}
			var bytewise sliceWriter
			s := &sanitizer{w: &bytewise, keepColor: !tt.noColor}
			for i := range len(tt.in) {
				if n, err := s.Write([]byte{tt.in[i]}); n != 1 || err != nil {
					t.Fatalf("Write: %d, %v", n, err)
				}
			}
			if string(bytewise) != tt.want {
				t.Errorf("byte by byte: got %q, want %q", bytewise, tt.want)
			}
		})
	}
}

func TestSanitizerResets(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\x1b[31mred":         "\x1b[31mred\x1b[0m",
		"\x1b[31mred\x1b[m":   "\x1b[31mred\x1b[m",
		"\x1b[31mred\x1b[0mx": "\x1b[31mred\x1b[0mx",
		"plain":               "plain",
	} {
		var out sliceWriter
		s := &sanitizer{w: &out, keepColor: true}
		_, _ = s.Write([]byte(in))
		s.Reset()
		if string(out) != want {
			t.Errorf("%q: got %q, want %q", in, out, want)
		}
	}
}

// FuzzSanitizer: whatever comes in and however it is cut, nothing goes out but
// text, newlines and colours.
func FuzzSanitizer(f *testing.F) {
	f.Add([]byte("a\x1b[31mb\x1b]0;t\x07\x9b2J"), 3)
	f.Add([]byte("\x1b[38;5;1\x1bPq\xe2\x9c"), 1)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var out sliceWriter
		s := &sanitizer{w: &out, keepColor: true}
		cut = min(max(cut, 0), len(in))
		_, _ = s.Write(in[:cut])
		_, _ = s.Write(in[cut:])
		if got := clean(in, true); !bytes.Equal(got, out) {
			t.Errorf("cut at %d: %q, whole: %q", cut, out, got)
		}
		rest := stripSGR(bytes.ReplaceAll(out, []byte(":"), []byte(";")))
		for len(rest) > 0 {
			r, n := utf8.DecodeRune(rest)
			if r == utf8.RuneError && n == 1 || r != '\n' && r != '\r' && safetext.Visible(r) != r {
				t.Fatalf("%q left %q", in, out)
			}
			rest = rest[n:]
		}
	})
}
