package jobs_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ words, want string }{
		"plain":               {"tag is immutable", "tag is immutable"},
		"several lines":       {"denied:\n\tno\r\n", "denied: no"},
		"terminal sequences":  {"\x1b[31mred\u202e", "\uFFFD[31mred\uFFFD"},
		"not UTF-8":           {"a\xffb", "a\uFFFDb"},
		"in the message":      {"the tag is taken", ""},
		"nothing":             {" \n", ""},
		"long, cut in a rune": {strings.Repeat("é", jobs.MaxCause), strings.Repeat("é", (jobs.MaxCause-3)/2) + "..."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := jobs.Fail(jobs.KindPush, nil, "", "registry: the tag is taken").Said(c.words).Cause
			if got != c.want {
				t.Errorf("Said(%q) is %q, want %q", c.words, got, c.want)
			}
			if f := jobs.Fail(jobs.KindPush, nil, "", "refused: %s", c.words); jobs.Line(f.Message, len(f.Message)) != f.Message {
				t.Errorf("a failure with the words %q says %q", c.words, f.Message)
			}
			if len(got) > jobs.MaxCause || !utf8.ValidString(got) {
				t.Errorf("Said(%q) has %d bytes, valid UTF-8: %v", c.words, len(got), utf8.ValidString(got))
			}
		})
	}
}
