package jobs

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestTraceparent(t *testing.T) {
	t.Parallel()
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	const good = "00-" + trace + "-" + span + "-01"
	for text, want := range map[string]Traceparent{
		good: good, " " + good + "\t": good,
		"00-" + trace + "-" + span + "-00":      "00-" + trace + "-" + span + "-00",
		"cc-" + trace + "-" + span + "-01-more": good, // of a later version
		"cc-" + trace + "-" + span + "-01":      good,

		"": "", "none": "", good + "-more": "", good + "0": "", strings.ToUpper(good): "",
		"ff-" + trace + "-" + span + "-01":                    "",
		"cc-" + trace + "-" + span + "-01more":                "",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  "",
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": "",
		"00-" + trace[1:] + "-" + span + "-01":                "",
		"00-" + trace + "-" + span:                            "",
		"00-" + trace + "-" + span + "-01\n" + "x: y":         "",
		"00-" + strings.Repeat("g", 32) + "-" + span + "-01":  "",
		"cc-" + trace + "-" + span + "-01-" + "a\nb":          "",
	} {
		got := ParseTraceparent(text)
		if got != want {
			t.Errorf("ParseTraceparent(%q) = %q; want %q", text, got, want)
		}
		ids, parent, sampled := got.IDs()
		if id := got.Trace(); want != "" && id != trace || want == "" && id != "" {
			t.Errorf("%q has the trace %q", text, id)
		}
		switch {
		case want == "":
			if ids != [16]byte{} || parent != [8]byte{} || sampled {
				t.Errorf("%q has the trace %x, span %x, sampled %t; want none", text, ids, parent, sampled)
			}
		case hex.EncodeToString(ids[:]) != trace || hex.EncodeToString(parent[:]) != span || sampled != strings.HasSuffix(string(want), "1"):
			t.Errorf("%q has the trace %x, span %x, sampled %t", text, ids, parent, sampled)
		}
	}
}
