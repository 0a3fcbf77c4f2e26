package jobs

import (
	"encoding/hex"
	"regexp"
	"strings"
)

// Traceparent is the W3C trace context of what submitted a job: its trace, and the span
// that the job's own spans stand below. "" is none.
type Traceparent string

// ParseTraceparent reads a header or variable of that name, whatever its version. What is no
// trace context is none, as the standard has it: a trace is no reason to refuse a job.
func ParseTraceparent(text string) Traceparent {
	parts := traceparent().FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil {
		return ""
	}
	version, trace, span, flags, more := parts[1], parts[2], parts[3], parts[4], parts[5]
	nothing := strings.Trim(trace, "0") == "" || strings.Trim(span, "0") == ""
	if nothing || version == "ff" || version == "00" && more != "" {
		return ""
	}
	return Traceparent("00-" + trace + "-" + span + "-" + flags)
}

func traceparent() *regexp.Regexp {
	return regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)
}

// Trace is the ID of the trace in hex, "" for none.
func (t Traceparent) Trace() string {
	if parts := strings.Split(string(t), "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

// IDs are the trace and the span that it names, and whether they are recorded; zero for none.
func (t Traceparent) IDs() (trace [16]byte, span [8]byte, sampled bool) {
	parts := strings.Split(string(t), "-")
	if len(parts) != 4 {
		return trace, span, false
	}
	var flags [1]byte
	for i, to := range [][]byte{1: trace[:], 2: span[:], 3: flags[:]} {
		if len(to) > 0 && len(parts[i]) == hex.EncodedLen(len(to)) {
			_, _ = hex.Decode(to, []byte(parts[i])) // it was read by ParseTraceparent
		}
	}
	return trace, span, flags[0]&1 == 1
}
