package systemd

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Phase is how far a service is. It goes from one to the next, and never back.
type Phase string

// The phases. The manager waits for one that starts, and for one that ends.
const (
	Starting Phase = "starting"
	Up       Phase = "up"
	Ending   Phase = "ending"
)

// Condition is how a service is. The zero Condition says nothing.
type Condition struct {
	Phase Phase
	// Text is one line for people.
	Text string
}

// maxText is the most bytes of a text that are told: an error can be of any length, and a
// pipe keeps what is written at once together up to 4096 bytes.
const maxText = 500

// Line is the condition as one line of text, which Read reads.
func (c Condition) Line() string { return string(c.Phase) + " " + oneLine(c.Text) }

// Read reads what Line wrote; any other line is the zero Condition.
func Read(line string) Condition {
	phase, text, _ := strings.Cut(line, " ")
	switch p := Phase(phase); p {
	case Starting, Up, Ending:
		return Condition{p, text}
	}
	return Condition{}
}

// oneLine keeps a text from ending its line, and from being too long for a datagram.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "..."
}
