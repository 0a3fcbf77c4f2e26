package mask_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/mask"
)

func stars(n int) string { return strings.Repeat("*", n) }

func TestText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 300)
	for name, tt := range map[string]struct {
		secrets    []string
		text, want string
	}{
		"nothing to cover":                {nil, "token", "token"},
		"a value":                         {[]string{"hunter22"}, "it is hunter22.", "it is ********."},
		"with the end of its file's line": {[]string{"hunter22\r\n"}, "hunter22", stars(8)},
		"again and again":                 {[]string{"hunter22"}, "hunter22hunter22 hunter2", stars(16) + " hunter2"},
		"an overlapping one":              {[]string{"abcdef", "defghi"}, "abcdefghi", stars(9)},
		"within a longer one":             {[]string{"abcdefgh", "cdef"}, "xabcdefghx cdef", "x********x ****"},
		"the shorter of two":              {[]string{"abcdefgh", "abcd"}, "abcdx", "****x"},
		"one that is too short":           {[]string{"abc"}, "abc", "abc"},
		"an empty one":                    {[]string{"", "\n"}, "abc\n", "abc\n"},
		"each line":                       {[]string{"{\n  first-line\n  second-line\n}\n"}, "{ second-line first-line }", "{ *********** ********** }"},
		"more than one look takes in":     {[]string{long}, "<" + long + ">", "<" + stars(len(long)) + ">"},
		"bytes that are no text":          {[]string{"\x00\xff\xfe\x01"}, "a\x00\xff\xfe\x01b", "a****b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var secrets [][]byte
			for _, s := range tt.secrets {
				secrets = append(secrets, []byte(s))
			}
			v := mask.Of(secrets...)
			if got := v.Text(tt.text); got != tt.want {
				t.Errorf("%.80q; want %.80q", got, tt.want)
			}
			s := v.Stream()
			var got []byte
			for i := range len(tt.text) {
				got = append(got, s.Next([]byte{tt.text[i]})...)
			}
			if got = append(got, s.Rest()...); string(got) != tt.want {
				t.Errorf("byte by byte: %.80q; want %.80q", got, tt.want)
			}
		})
	}
}

// What is held back is what may be the beginning of a value, and nothing else.
func TestStreamHoldsBackNoMore(t *testing.T) {
	t.Parallel()
	s := mask.Of([]byte("hunter22")).Stream()
	for _, tt := range []struct{ come, shown string }{
		{"a h", "a "}, {"unter2", ""}, {"3 h", "hunter23 "}, {"h", "h"}, {"unter22", stars(8)}, {"\n", "\n"}, {"x", "x"},
	} {
		if got := s.Next([]byte(tt.come)); string(got) != tt.shown {
			t.Errorf("after %q: %q is shown; want %q", tt.come, got, tt.shown)
		}
	}
}

func TestRest(t *testing.T) {
	t.Parallel()
	for come, want := range map[string]string{
		"the end: secr":        "the end: secr", // a few letters tell nothing
		"cut off: secret-of-t": "cut off: " + stars(11),
	} {
		s := mask.Of([]byte("secret-of-the-farm")).Stream()
		if got := string(s.Next([]byte(come))) + string(s.Rest()); got != want {
			t.Errorf("%q is shown as %q; want %q", come, got, want)
		}
	}
}

// However an output is cut into pieces, it is covered as a whole text is, keeps its length,
// and has no value any more.
func TestPiecesAsWhole(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		letters := func(n int) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = "abc"[r.IntN(3)] // few letters: values that overlap are common
			}
			return b
		}
		var secrets [][]byte
		for range 1 + r.IntN(4) {
			secrets = append(secrets, letters(4+r.IntN(9)))
		}
		v, text := mask.Of(secrets...), letters(r.IntN(200))
		whole := v.Text(string(text))
		s := v.Stream()
		var got []byte
		for rest := text; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 20))
			got, rest = append(got, s.Next(rest[:n])...), rest[n:]
		}
		shown := len(got)
		if got = append(got, s.Rest()...); string(got[:shown]) != whole[:shown] || len(got) != len(text) {
			t.Fatalf("secrets %q, text %q: in pieces %q; as a whole %q", secrets, text, got, whole)
		}
		for _, secret := range secrets {
			if bytes.Contains(got, secret) {
				t.Fatalf("secrets %q, text %q: %q has one", secrets, text, got)
			}
		}
	}
}

func BenchmarkStream(b *testing.B) {
	var secrets [][]byte
	for range 100 {
		secrets = append(secrets, bytes.Repeat([]byte{byte('a' + rand.IntN(26)), byte('a' + rand.IntN(26))}, 16))
	}
	s := mask.Of(secrets...).Stream()
	chunk := bytes.Repeat([]byte("2026-11-30 12:00:00 step 12 of the tests passed\n"), 680)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		s.Next(chunk)
	}
}
