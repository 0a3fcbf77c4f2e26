package main

import (
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-farm/slipway/internal/safetext"
)

// sanitizer passes text to a terminal and takes out what a terminal would obey:
// operating system commands, device control strings, cursor movement, C1
// controls, bells. Colours (SGR) stay when keepColor is set, and so do tab,
// newline and carriage return. What hides or turns around other text, such as bidi
// controls, becomes U+FFFD. State is kept between writes.
type sanitizer struct {
	w         io.Writer
	keepColor bool

	parser  safetext.Parser
	out     []byte
	colored bool // an SGR passed and was not reset
}

// Write implements io.Writer.
func (s *sanitizer) Write(p []byte) (int, error) {
	s.out = s.out[:0]
	s.parser.Parse(p, s.text, s.colour)
	if _, err := s.w.Write(s.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *sanitizer) text(r rune) {
	switch {
	case r == '\n' || r == '\r' || r == '\t':
		s.out = append(s.out, byte(r))
	case !unicode.IsControl(r):
		s.out = utf8.AppendRune(s.out, safetext.Visible(r))
	}
}

func (s *sanitizer) colour(seq []byte) {
	if s.keepColor {
		s.out = append(s.out, seq...)
		s.colored = string(seq) != "\x1b[m" && string(seq) != "\x1b[0m"
	}
}

// Reset ends a colour that the writer left on.
func (s *sanitizer) Reset() {
	if s.colored {
		_, _ = s.w.Write([]byte("\x1b[0m")) // a terminal that is gone needs no reset
		s.colored = false
	}
}

// clean is the sanitized form of a whole piece of text.
func clean(b []byte, keepColor bool) []byte {
	var buf sliceWriter
	s := &sanitizer{w: &buf, keepColor: keepColor}
	_, _ = s.Write(b) // a sliceWriter never fails
	return buf
}

type sliceWriter []byte

func (w *sliceWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
