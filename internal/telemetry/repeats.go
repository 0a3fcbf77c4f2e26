package telemetry

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

// quietFor is how long a line of trouble is not written again.
const quietFor = time.Minute

// maxRemembered bounds how many lines of trouble are remembered.
const maxRemembered = 1000

// repeats writes a line of trouble once a minute: loops that try again every second fail
// with the same words while Redis or the daemon is away, and would bury what happened to
// the jobs. The next line says how often it was left out. Lines below Warn are written
// always: each is an event.
type repeats struct {
	slog.Handler
	attrs string // those of WithAttrs and WithGroup, as a part of a line's key
	seen  *seen
}

// seen is shared by all handlers that come from one.
type seen struct {
	mu    sync.Mutex
	lines map[string]*line
}

// line is a line of trouble.
type line struct {
	written time.Time
	left    int // out since then
}

func withoutRepeats(h slog.Handler) slog.Handler {
	return &repeats{Handler: h, seen: &seen{lines: map[string]*line{}}}
}

// Handle implements slog.Handler.
func (h *repeats) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		write, left := h.seen.add(h.key(r), r.Time)
		if !write {
			return nil
		}
		if left > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("repeated", left))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	key := h.attrs
	for _, a := range attrs {
		key += said(a)
	}
	return &repeats{h.Handler.WithAttrs(attrs), key, h.seen}
}

// WithGroup implements slog.Handler.
func (h *repeats) WithGroup(name string) slog.Handler {
	return &repeats{h.Handler.WithGroup(name), h.attrs + "\x00" + name, h.seen}
}

func (h *repeats) key(r slog.Record) string {
	var b strings.Builder
	b.WriteString(r.Level.String() + r.Message + h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(said(a))
		return true
	})
	return b.String()
}

// numbers differ from try to try: ports, durations.
var numbers = regexp.MustCompile(`\d+`)

// said is an attribute as a part of a key. The texts of others lose their numbers, the
// farm's own values keep them: two jobs are two lines.
func said(a slog.Attr) string {
	text := a.Value.String()
	if a.Key == "err" || a.Key == "text" {
		text = numbers.ReplaceAllString(text, "#")
	}
	return "\x00" + a.Key + "\x00" + text
}

// add reports whether the line is to be written, and how often it was left out before.
func (s *seen) add(key string, now time.Time) (write bool, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[key]; l != nil {
		if now.Sub(l.written) < quietFor {
			l.left++
			return false, 0
		}
		left = l.left
	}
	if len(s.lines) >= maxRemembered {
		s.forget(now)
	}
	s.lines[key] = &line{written: now}
	return true, left
}

// forget drops what is written again anyway; all, when that is not enough.
func (s *seen) forget(now time.Time) {
	for key, l := range s.lines {
		if now.Sub(l.written) >= quietFor {
			delete(s.lines, key)
		}
	}
	if len(s.lines) >= maxRemembered {
		clear(s.lines)
	}
}
