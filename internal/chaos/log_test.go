//go:build integration && chaos

package chaos_test

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// stdout is what a container printed, of the framed log that the farm stored.
// torn tells that the log itself says that its end may be missing.
func stdout(r io.Reader) (text string, torn bool, err error) {
	var out strings.Builder
	for frames := jobs.NewFrameReader(r); ; {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return out.String(), torn, nil
		} else if err != nil {
			return "", false, fmt.Errorf("read log: %w", err)
		}
		switch frame.Stream {
		case jobs.Stdout:
			out.Write(frame.Data)
		case jobs.Note:
			torn = torn || strings.Contains(string(frame.Data), "the last of its output may be missing")
		case jobs.Stderr, jobs.BuildStatus:
		}
	}
}

// history is what the record says happened, for people.
func history(events []jobs.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n\t%s %s %s", e.At.Format("15:04:05.000"), e.Type, e.Text)
	}
	return b.String()
}

func count(events []jobs.Event, kind jobs.EventType) (n int) {
	for _, e := range events {
		if e.Type == kind {
			n++
		}
	}
	return n
}
