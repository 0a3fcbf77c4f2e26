package pages

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-farm/slipway/internal/safetext"
)

// span is a piece of a line that looks the same throughout.
type span struct {
	look look
	text string
}

// look is how text is shown. Colours are classes of the style sheet, since the pages allow no
// styles of their own: 0 is the default, 1 to 256 are the palette.
type look struct {
	fg, bg                                         int
	bold, dim, italic, underline, strike, inverted bool
}

// class are the classes of a look, "" for the plain one.
func (l look) class() string {
	var all []string
	fg, bg := l.fg, l.bg
	if l.inverted {
		fg, bg = bg, fg
		if l.fg == 0 && l.bg == 0 {
			all = append(all, "inv")
		}
	}
	if fg > 0 {
		all = append(all, "f"+strconv.Itoa(fg-1))
	}
	if bg > 0 {
		all = append(all, "b"+strconv.Itoa(bg-1))
	}
	for _, is := range []struct {
		on   bool
		name string
	}{{l.bold, "bold"}, {l.dim, "dim"}, {l.italic, "it"}, {l.underline, "un"}, {l.strike, "st"}} {
		if is.on {
			all = append(all, is.name)
		}
	}
	return strings.Join(all, " ")
}

// maxParams bounds a sequence: longer ones are no colours.
const maxParams = 32

// readLine takes a line of a terminal's output apart. Colours become looks. What stands before a
// carriage return was drawn over. Characters that cannot be seen, or change the direction of
// others, become visible.
func readLine(line string) []span {
	// Colours that were set before a carriage return stay; the text does not.
	var spans []span
	var now look
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			spans = append(spans, span{now, text.String()})
			text.Reset()
		}
	}
	var parser safetext.Parser
	parser.Parse([]byte(strings.TrimRight(line, "\r\n")), func(r rune) {
		if r == '\r' {
			text.Reset()
			spans = spans[:0]
			return
		}
		text.WriteRune(safetext.Visible(r))
	}, func(seq []byte) {
		if params, ok := numbers(string(seq[2 : len(seq)-1])); ok {
			flush()
			now = now.apply(params)
		}
	})
	flush()
	return spans
}

// numbers reads parameters between ; or :.
func numbers(text string) ([]int, bool) {
	if text == "" {
		return []int{0}, true
	}
	var all []int
	// With colons there may be an empty name of a colour space before a colour.
	text = strings.ReplaceAll(strings.ReplaceAll(text, "::", ":"), ":", ";")
	for part := range strings.SplitSeq(text, ";") {
		n := 0
		if part != "" {
			var err error
			if n, err = strconv.Atoi(part); err != nil || n < 0 {
				return nil, false
			}
		}
		if all = append(all, n); len(all) > maxParams {
			return nil, false
		}
	}
	return all, true
}

// apply is the look after a sequence.
func (l look) apply(params []int) look {
	for i := 0; i < len(params); i++ {
		switch n := params[i]; {
		case n == 0:
			l = look{}
		case n == 1:
			l.bold = true
		case n == 2:
			l.dim = true
		case n == 3:
			l.italic = true
		case n == 4:
			l.underline = true
		case n == 7:
			l.inverted = true
		case n == 9:
			l.strike = true
		case n == 22:
			l.bold, l.dim = false, false
		case n == 23:
			l.italic = false
		case n == 24:
			l.underline = false
		case n == 27:
			l.inverted = false
		case n == 29:
			l.strike = false
		case n >= 30 && n <= 37:
			l.fg = n - 30 + 1
		case n == 39:
			l.fg = 0
		case n >= 40 && n <= 47:
			l.bg = n - 40 + 1
		case n == 49:
			l.bg = 0
		case n >= 90 && n <= 97:
			l.fg = n - 90 + 8 + 1
		case n >= 100 && n <= 107:
			l.bg = n - 100 + 8 + 1
		case n == 38 || n == 48:
			colour, used := extended(params[i+1:])
			i += used
			if colour == 0 {
				break
			}
			if n == 38 {
				l.fg = colour
			} else {
				l.bg = colour
			}
		}
	}
	return l
}

// extended reads a colour of 256, or of 24 bits, which becomes the nearest of the 256. It
// returns 0 for none, and how many parameters it took.
func extended(params []int) (colour, used int) {
	switch {
	case len(params) >= 2 && params[0] == 5:
		if params[1] > 255 {
			return 0, 2
		}
		return params[1] + 1, 2
	case len(params) >= 4 && params[0] == 2:
		r, g, b := params[1], params[2], params[3]
		if r > 255 || g > 255 || b > 255 {
			return 0, 4
		}
		return nearest(r, g, b) + 1, 4
	}
	return 0, len(params)
}

// nearest is the colour of the palette's cube and greys that is nearest.
func nearest(r, g, b int) int {
	levels := []int{0, 95, 135, 175, 215, 255}
	level := func(v int) int {
		best := 0
		for i, l := range levels {
			if abs(l-v) < abs(levels[best]-v) {
				best = i
			}
		}
		return best
	}
	far := func(r2, g2, b2 int) int { return (r-r2)*(r-r2) + (g-g2)*(g-g2) + (b-b2)*(b-b2) }
	i, j, k := level(r), level(g), level(b)
	grey := min(max((r+g+b)/3-3, 0)/10, 23)
	if v := 8 + 10*grey; far(v, v, v) < far(levels[i], levels[j], levels[k]) {
		return 232 + grey
	}
	return 16 + 36*i + 6*j + k
}

func abs(n int) int { return max(n, -n) }

// plain is the text of a line.
func plain(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.text)
	}
	return b.String()
}

// mark is a run of bytes of a line's plain text that a search has found.
type mark struct{ from, to int }

// markup writes a line as HTML, in which nothing that was in it acts: its text is escaped,
// and its looks are names of classes.
func markup(spans []span, marks []mark) template.HTML {
	var b strings.Builder
	at := 0
	for _, s := range spans {
		class := s.look.class()
		if class != "" {
			fmt.Fprintf(&b, `<span class="%s">`, class)
		}
		for text := s.text; text != ""; {
			for len(marks) > 0 && marks[0].to <= at {
				marks = marks[1:]
			}
			n, marked := len(text), false
			if len(marks) > 0 {
				if marked = marks[0].from <= at; marked {
					n = min(n, marks[0].to-at)
				} else {
					n = min(n, marks[0].from-at)
				}
			}
			piece := template.HTMLEscapeString(text[:n])
			if marked {
				piece = "<mark>" + piece + "</mark>"
			}
			b.WriteString(piece)
			text, at = text[n:], at+n
		}
		if class != "" {
			b.WriteString("</span>")
		}
	}
	return template.HTML(b.String()) //nolint:gosec // all of it is escaped above
}

// fold makes a text lower case for a search. Letters whose other case has another length stay
// as they are, so that places in the folded text are those in the text.
func fold(text string) string {
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); utf8.RuneLen(l) == utf8.RuneLen(r) {
			return l
		}
		return r
	}, text)
}

// find lists where a folded text is in a line, without regard to case.
func find(line, want string) []mark {
	if want == "" {
		return nil
	}
	line = fold(line)
	var marks []mark
	for at := 0; ; {
		i := strings.Index(line[at:], want)
		if i < 0 {
			return marks
		}
		marks = append(marks, mark{at + i, at + i + len(want)})
		at += i + len(want)
	}
}
