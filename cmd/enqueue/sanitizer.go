package main

import (
	"io"
	"unicode/utf8"
)

// sanitizer passes text to a terminal and takes out what a terminal would obey:
// operating system commands, device control strings, cursor movement, C1
// controls, bells. Colours (SGR) stay when keepColor is set, and so do tab,
// newline and carriage return. Bytes that are not UTF-8 become U+FFFD, because
// terminals that do not speak UTF-8 read some of them as C1 controls.
//
//	          ESC            [                 0x40..0x7e
//	text ----------> esc ----------> csi --------------------> text (SGR passes)
//	  ^               | ] P X ^ _
//	  |               +---------> str -- BEL, ESC \, newline --> text
//	  +-- any other --+
//
// A control string also ends at a newline, so that an unfinished one cannot
// swallow the rest of the output. State is kept between writes.
type sanitizer struct {
	w         io.Writer
	keepColor bool

	state   escState
	seq     []byte // the CSI sequence so far, or a rune cut in two
	out     []byte
	colored bool // an SGR passed and was not reset
}

type escState int

const (
	inText escState = iota
	inEsc
	inCSI
	inString
	inStringEsc
	maxSeq = 64
)

// Write implements io.Writer.
func (s *sanitizer) Write(p []byte) (int, error) {
	s.out = s.out[:0]
	rest := p
	if s.state == inText && len(s.seq) > 0 { // the beginning of a rune waits
		rest = append(append([]byte{}, s.seq...), p...)
		s.seq = s.seq[:0]
	}
	for len(rest) > 0 {
		if s.state != inText {
			s.escape(rest[0])
			rest = rest[1:]
			continue
		}
		if !utf8.FullRune(rest) {
			s.seq = append(s.seq, rest...)
			break
		}
		r, n := utf8.DecodeRune(rest)
		s.text(r)
		rest = rest[n:]
	}
	if _, err := s.w.Write(s.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *sanitizer) text(r rune) {
	switch {
	case r == 0x1b:
		s.state = inEsc
	case r == '\n' || r == '\r' || r == '\t':
		s.out = append(s.out, byte(r))
	case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
	default:
		s.out = utf8.AppendRune(s.out, r)
	}
}

// escape takes one byte outside of plain text.
func (s *sanitizer) escape(c byte) {
	switch s.state {
	case inEsc:
		switch c {
		case '[':
			s.state, s.seq = inCSI, append(s.seq[:0], 0x1b, '[')
		case ']', 'P', 'X', '^', '_':
			s.state = inString
		case 0x1b:
		default:
			// Intermediate bytes (ESC ( B) ask for one more.
			if c < 0x20 || c > 0x2f {
				s.state = inText
			}
			if c == '\n' {
				s.out = append(s.out, c)
			}
		}
	case inCSI:
		s.csi(c)
	case inString, inStringEsc:
		switch {
		case c == '\n':
			s.out = append(s.out, c)
			s.state = inText
		case c == 0x07 || c == '\\' && s.state == inStringEsc:
			s.state = inText
		case c == 0x1b:
			s.state = inStringEsc
		default:
			s.state = inString
		}
	}
}

func (s *sanitizer) csi(c byte) {
	switch {
	case c == 0x1b:
		s.state, s.seq = inEsc, s.seq[:0]
	case c < 0x20: // a control inside: the sequence is broken
		s.state, s.seq = inText, s.seq[:0]
		s.text(rune(c))
	case c >= 0x40 && c <= 0x7e:
		if c == 'm' && s.keepColor && isSGR(s.seq[2:]) {
			s.out = append(append(s.out, s.seq...), c)
			s.colored = !isReset(s.seq[2:])
		}
		s.state, s.seq = inText, s.seq[:0]
	case len(s.seq) < maxSeq:
		s.seq = append(s.seq, c)
	default:
		// Too long to be a colour: keep one byte that makes isSGR say no.
		s.seq = append(s.seq[:2], '?')
	}
}

// Reset ends a colour that the writer left on.
func (s *sanitizer) Reset() {
	if s.colored {
		_, _ = s.w.Write([]byte("\x1b[0m")) // a terminal that is gone needs no reset
		s.colored = false
	}
}

func isSGR(params []byte) bool {
	for _, c := range params {
		if (c < '0' || c > '9') && c != ';' && c != ':' {
			return false
		}
	}
	return true
}

func isReset(params []byte) bool {
	return len(params) == 0 || string(params) == "0"
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
