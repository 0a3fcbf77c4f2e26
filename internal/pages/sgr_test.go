package pages

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestReadLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, want string }{
		{"plain\n", "plain"},
		{"\x1b[31mred\x1b[0m rest", `<span class="f1">red</span> rest`},
		{"\x1b[1;4;92mall\x1b[22;24;39mnone", `<span class="f10 bold un">all</span>none`},
		{"\x1b[38;5;208mx\x1b[48;5;16my", `<span class="f208">x</span><span class="f208 b16">y</span>`},
		{"\x1b[38;2;255;0;0mx", `<span class="f196">x</span>`},
		{"\x1b[38:2::128:128:128mx", `<span class="f244">x</span>`},
		{"\x1b[38:5:1mx", `<span class="f1">x</span>`},
		{"\x1b[7mx\x1b[27my", `<span class="inv">x</span>y`},
		{"\x1b[31;7mx", `<span class="b1">x</span>`},
		{"\x1b[mx\x1b[31m", "x"},
		{"10%\r50%\r100%\r\n", "100%"},
		{"\x1b[32m10%\r\x1b[32mdone", `<span class="f2">done</span>`},
		{"a\x1b[2Kb\x1b[1;1Hc\x1b(Bd\x1b=e", "abcde"},
		{"\x1b]0;title\x07a\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\b\x1bPdcs\x1b\\c", "alinkbc"},
		{"a\x1b]52;c;ZXZpbA==", "a"},
		{"a\x1b[", "a"},
		{"a\x1b", "a"},
		{"\x1b[999999999999999999999mx", "x"},
		{"\x1b[38;5;999mx\x1b[38;2;1mx\x1b[38mx", "xxx"},
		{"<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"},
		{"a\x00b\x07c\x7fd\u009be", "a\ufffdb\ufffdc\ufffdd\ufffde"},
		{"\u202eexe.gpj\u2066x\u200b\ufeff", "\ufffdexe.gpj\ufffdx\ufffd\ufffd"},
		{"\tgrün 日本 👩‍🚀", "\tgrün 日本 👩‍🚀"},
	} {
		if got := string(markup(readLine(tt.line), nil)); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.line, got, tt.want)
		}
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ line, want, html string }{
		{"an ERROR here", "error", "an <mark>ERROR</mark> here"},
		{"aaa", "a", "<mark>a</mark><mark>a</mark><mark>a</mark>"},
		{"ab\x1b[31mcd\x1b[0mef", "bcde", `a<mark>b</mark><span class="f1"><mark>cd</mark></span><mark>e</mark>f`},
		{"<&>", "&", "&lt;<mark>&amp;</mark>&gt;"},
		{"Ⱥⱥ GRÜN", "grün", "Ⱥⱥ <mark>GRÜN</mark>"},
		{"İx error", "error", "İx <mark>error</mark>"},
		{"nothing", "error", "nothing"},
		{"nothing", "", "nothing"},
	} {
		spans := readLine(tt.line)
		if got := string(markup(spans, find(plain(spans), fold(tt.want)))); got != tt.html {
			t.Errorf("%q in %q: %s, want %s", tt.want, tt.line, got, tt.html)
		}
	}
}

// Whatever a line has, nothing of it acts: no control, no change of direction, and no markup
// but the own.
func FuzzReadLine(f *testing.F) {
	for _, s := range []string{"a\x1b[31mb", "\x1b]8;;x\x07", "<script>", "\u202e", "\x1b[38;2;1;2;3m", "\x9b31m", "a\rb", "\x1b[38:2::1:2:3m\xff"} {
		f.Add(s, "b")
	}
	f.Fuzz(func(t *testing.T, line, want string) {
		spans := readLine(line)
		text := plain(spans)
		for _, r := range text {
			if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
				t.Errorf("%q: %q is left", line, r)
			}
		}
		html := string(markup(spans, find(text, fold(want))))
		if !utf8.ValidString(html) {
			t.Errorf("%q: %q is no UTF-8", line, html)
		}
		for rest := html; ; {
			_, after, ok := strings.Cut(rest, "<")
			if !ok {
				break
			}
			tag, tail, ok := strings.Cut(after, ">")
			if class, isSpan := strings.CutPrefix(tag, `span class="`); isSpan {
				class = strings.TrimSuffix(class, `"`)
				if strings.Trim(class, "abcdefghijklmnopqrstuvwxyz0123456789 ") != "" {
					ok = false
				}
			} else if tag != "/span" && tag != "mark" && tag != "/mark" {
				ok = false
			}
			if !ok {
				t.Fatalf("%q: the tag %q", line, tag)
			}
			rest = tail
		}
	})
}
