// Package safetext shows text that strangers wrote, such as the log of a job: it takes what a
// terminal would obey out of it, but for colours, and makes characters visible that hide or
// change the direction of others. The pages and the enqueue command show logs by it, and the
// HTTP API writes JSON by it.
package safetext

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Parser takes the output of a program apart as a terminal does. The zero value is before the
// first byte; it keeps its state between calls.
//
//	          ESC            [                 0x40..0x7e
//	text ----------> esc ----------> csi --------------------> text (colours are told)
//	  ^               | ] P X ^ _
//	  |               +---------> str -- BEL, ESC \, newline --> text
//	  +-- any other --+
//
// A control string also ends at a newline, so that an unfinished one cannot swallow the rest of
// the output.
type Parser struct {
	state state
	seq   []byte // the CSI sequence so far, or a character cut in two
}

type state int

const (
	inText state = iota
	inEsc
	inCSI
	inString
	inStringEsc
)

// maxSeq bounds a sequence in bytes: longer ones are no colours.
const maxSeq = 64

// Parse takes the next bytes. text is called for each character, controls among them; bytes that
// are not UTF-8 are U+FFFD, because terminals that do not speak UTF-8 read some of them as C1
// controls. colour is called for each whole sequence that sets colours (ECMA-48 SGR); it is valid
// during the call. All other sequences are dropped: what they say is for terminals only, such as
// titles, links and the clipboard.
func (p *Parser) Parse(b []byte, text func(rune), colour func(seq []byte)) {
	if p.state == inText && len(p.seq) > 0 { // the beginning of a character waits
		b = append(p.seq, b...)
		p.seq = nil
	}
	for len(b) > 0 {
		if p.state != inText {
			if p.escape(b[0], colour) {
				b = b[1:]
			}
			continue
		}
		if !utf8.FullRune(b) {
			p.seq = append(p.seq[:0], b...)
			return
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		if r == 0x1b {
			p.state = inEsc
		} else {
			text(r)
		}
	}
}

// escape takes one byte outside of text, and reports whether it did: what is no part of a
// sequence ends it, and is text.
func (p *Parser) escape(c byte, colour func([]byte)) bool {
	switch p.state {
	case inEsc:
		switch {
		case c == '[':
			p.state, p.seq = inCSI, append(p.seq[:0], 0x1b, '[')
		case c == ']', c == 'P', c == 'X', c == '^', c == '_':
			p.state = inString
		case c >= 0x20 && c <= 0x2f: // intermediate bytes (ESC ( B) ask for one more
		default:
			p.state = inText
			return c >= 0x30 && c <= 0x7e
		}
	case inCSI:
		return p.csi(c, colour)
	case inString, inStringEsc:
		switch {
		case c == '\n':
			p.state = inText
			return false
		case c == 0x07, c == '\\' && p.state == inStringEsc:
			p.state = inText
		case c == 0x1b:
			p.state = inStringEsc
		default:
			p.state = inString
		}
	}
	return true
}

func (p *Parser) csi(c byte, colour func([]byte)) bool {
	switch {
	case c < 0x20, c > 0x7e:
		p.state, p.seq = inText, p.seq[:0]
		return false
	case c >= 0x40:
		if c == 'm' && isSGR(p.seq[2:]) {
			colour(append(p.seq, c))
		}
		p.state, p.seq = inText, p.seq[:0]
	case len(p.seq) < maxSeq:
		p.seq = append(p.seq, c)
	default: // too long to be a colour: one byte makes isSGR say no
		p.seq = append(p.seq[:2], '?')
	}
	return true
}

func isSGR(params []byte) bool {
	for _, c := range params {
		if (c < '0' || c > '9') && c != ';' && c != ':' {
			return false
		}
	}
	return true
}

// Visible returns r, or U+FFFD for a character that cannot be seen or acts on others: controls
// but the tab, bidi and other format characters, separators of lines. The joiner stays, which
// makes emoji.
func Visible(r rune) rune {
	switch {
	case r == '\t':
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r) && r != 0x200d, r == 0x2028, r == 0x2029:
		return utf8.RuneError
	}
	return r
}

// Line is a line of a terminal's output as plain text. What stands before a carriage return was
// drawn over.
func Line(line string) string {
	var text strings.Builder
	var p Parser
	p.Parse([]byte(strings.TrimRight(line, "\r\n")), func(r rune) {
		if r == '\r' {
			text.Reset()
			return
		}
		text.WriteRune(Visible(r))
	}, func([]byte) {})
	return text.String()
}

// JSON escapes in a JSON text the characters that Visible replaces, and which encoding/json
// leaves as they are. The text means the same, and is harmless on a terminal.
func JSON(text []byte) []byte {
	clean := 0 // how much of text needs nothing
	for clean < len(text) && text[clean] < 0x7f {
		clean++
	}
	if clean == len(text) {
		return text
	}
	out := append(make([]byte, 0, len(text)+len(text)/8), text[:clean]...)
	for rest := text[clean:]; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r < 0x7f || Visible(r) == r:
			out = append(out, rest[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		rest = rest[n:]
	}
	return out
}
