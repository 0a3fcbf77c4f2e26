// Package telemetry is what an operator sees of a program: structured logs,
// Prometheus metrics, and an admin listener with liveness, readiness, metrics
// and profiles. The programs wire it; the worker reports to it through an
// interface of its own.
package telemetry

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// NewLogger logs JSON lines, or readable ones when w is a terminal. level is
// debug, info, warn or error; anything else means info. A warning or an error that repeats
// itself is written once a minute.
func NewLogger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelInfo
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" {
		return slog.New(withoutRepeats(tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: time.TimeOnly})))
	}
	return slog.New(withoutRepeats(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})))
}
