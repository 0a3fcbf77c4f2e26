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
func stdout(r io.Reader) (string, error) {
	var out strings.Builder
	for frames := jobs.NewFrameReader(r); ; {
		frame, err := frames.Next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		} else if err != nil {
			return "", fmt.Errorf("read log: %w", err)
		}
		if frame.Stream == jobs.Stdout {
			out.Write(frame.Data)
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
