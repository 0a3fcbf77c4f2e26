package jobs

import (
	"encoding/hex"
	"errors"
	"regexp"
	"strings"
)

// Traceparent is the W3C trace context of what submitted a job: its trace, and the span
// that the job's own spans stand below. "" is none.
type Traceparent string

// traceparentPattern is of every version: what a later one adds comes last.
var traceparentPattern = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)

// ParseTraceparent reads a header or variable of that name, whatever its version. What is no
// trace context is none, as the standard has it: a trace is no reason to refuse a job.
func ParseTraceparent(text string) Traceparent {
	parts := traceparentPattern.FindStringSubmatch(strings.TrimSpace(text))
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

// Trace is the ID of the trace in hex, "" for none.
func (t Traceparent) Trace() string {
	if parts := traceparentPattern.FindStringSubmatch(string(t)); parts != nil {
		return parts[2]
	}
	return ""
}

// IDs are the trace and the span that it names, and whether they are recorded; zero for none.
func (t Traceparent) IDs() (trace [16]byte, span [8]byte, sampled bool) {
	parts := traceparentPattern.FindStringSubmatch(string(t))
	if parts == nil {
		return trace, span, false
	}
	var flags [1]byte
	_, err1 := hex.Decode(trace[:], []byte(parts[2]))
	_, err2 := hex.Decode(span[:], []byte(parts[3]))
	_, err3 := hex.Decode(flags[:], []byte(parts[4]))
	return trace, span, errors.Join(err1, err2, err3) == nil && flags[0]&1 == 1
}
