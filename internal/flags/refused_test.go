package flags

import (
	"strings"
	"testing"
)

// No flag is refused twice, or has a row. The flags that a sentence names are there.
func TestRefused(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for f := range New(&Options{}, nil).Rows(func(Row) bool { return true }) {
		known[f.Name] = true
		if f.Shorthand != "" {
			known[f.Shorthand] = true
		}
	}
	seen := map[string]bool{}
	for _, r := range refusals() {
		for _, name := range append(r.names, r.shorthands...) {
			if seen[name] || known[name] {
				t.Errorf("%s is refused twice, or is a flag", name)
			}
			seen[name] = true
			if Refused(name) != r.why {
				t.Errorf("Refused(%q) = %q; want %q", name, Refused(name), r.why)
			}
		}
		for word := range strings.FieldsSeq(r.why) {
			if name, ok := strings.CutPrefix(strings.Trim(word, ",;:()"), "--"); ok && !known[name] {
				t.Errorf("%q names --%s, which is no flag", r.why, name)
			}
		}
	}
	if said := Refused("weather"); said != "" {
		t.Errorf("of an unknown flag it says %q", said)
	}
}
