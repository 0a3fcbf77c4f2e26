package pages

import (
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"
)

// logEntry is a piece of a log, as the API has it.
type logEntry struct {
	Place   string    `json:"place"`
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Stream  string    `json:"stream"`
	Text    string    `json:"text"`
	Base64  string    `json:"base64"`
}

// logLine is a line of a log. Lines of an attempt are counted from 1, and a line keeps its
// number, whatever pieces the log comes in.
type logLine struct {
	N      int
	At     time.Time
	Stream string
	spans  []span
	plain  string
}

// longestLine is where a line is cut: what has no newlines is no reason for a page without end.
const longestLine = 16 << 10

// lineMaker makes lines of pieces. A line of the container gets its number when it ends, so
// that output and errors that come in turns stay whole.
type lineMaker struct {
	attempt, n int
	open       map[string]*openLine
	// emit takes each line, restart tells that those of another attempt come.
	emit    func(logLine)
	restart func(attempt int)
	// safe is the place behind the newest piece after which no line was open, and safeN the
	// number of the line before it: a reader that lost its connection goes on there.
	safe  string
	safeN int
}

// openLine is a line that has not ended.
type openLine struct {
	text []byte
	at   time.Time
}

func newLineMaker(emit func(logLine), restart func(int)) *lineMaker {
	return &lineMaker{open: map[string]*openLine{}, emit: emit, restart: restart}
}

// take takes the next piece.
func (m *lineMaker) take(e logEntry) {
	if e.Attempt != m.attempt {
		if m.attempt != 0 {
			m.n, m.open = 0, map[string]*openLine{}
			m.restart(e.Attempt)
		}
		m.attempt = e.Attempt
	}
	text := []byte(e.Text)
	if e.Base64 != "" {
		if raw, err := base64.StdEncoding.DecodeString(e.Base64); err == nil {
			text = raw
		}
	}
	switch e.Stream {
	case "gap":
		m.line(e.Stream, e.At, e.Text)
	case "stdout", "stderr":
		m.pieces(e, text)
	default: // whole lines of the farm's own making
		for line := range strings.Lines(string(text)) {
			m.line(e.Stream, e.At, line)
		}
	}
	for _, o := range m.open {
		if len(o.text) > 0 {
			return
		}
	}
	m.safe, m.safeN = e.Place, m.n
}

func (m *lineMaker) pieces(e logEntry, text []byte) {
	o := m.open[e.Stream]
	if o == nil {
		o = &openLine{}
		m.open[e.Stream] = o
	}
	for _, c := range text {
		if len(o.text) == 0 {
			o.at = e.At
		}
		o.text = append(o.text, c)
		if c == '\n' || len(o.text) >= longestLine {
			m.line(e.Stream, o.at, string(o.text))
			o.text = o.text[:0]
		}
	}
}

// end makes lines of what has not ended.
func (m *lineMaker) end() {
	for _, stream := range []string{"stdout", "stderr"} {
		if o := m.open[stream]; o != nil && len(o.text) > 0 {
			m.line(stream, o.at, string(o.text))
			o.text = nil
		}
	}
}

func (m *lineMaker) line(stream string, at time.Time, text string) {
	m.n++
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, string(utf8.RuneError))
	}
	spans := readLine(text)
	m.emit(logLine{N: m.n, At: at, Stream: stream, spans: spans, plain: plain(spans)})
}
