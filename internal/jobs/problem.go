package jobs

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one thing wrong with a document.
type Problem struct {
	// Code is stable and machine-readable, such as spec_unknown_field.
	Code string `json:"code"`
	// Pointer is the JSON pointer (RFC 6901) of the field, "" for the document.
	Pointer string `json:"pointer"`
	// Message says what was found and what the limit is.
	Message string `json:"message"`
}

// String has all of it: POINTER: MESSAGE (CODE).
func (p Problem) String() string {
	text := p.Message + " (" + p.Code + ")"
	if p.Pointer == "" {
		return text
	}
	return strings.Map(printable, p.Pointer) + ": " + text
}

// printable keeps keys of a stranger's document from acting on a terminal.
func printable(r rune) rune {
	if strconv.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

// Invalid reports everything wrong with a document. It matches [ErrInvalid].
type Invalid struct{ Problems []Problem }

func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "job document: " + strings.Join(lines, "; ")
}

// Is makes errors.Is(err, ErrInvalid) true.
func (e *Invalid) Is(target error) bool { return target == ErrInvalid }

// problems gathers findings under a moving JSON pointer.
type problems struct{ list []Problem }

func (p *problems) add(code, pointer, format string, args ...any) {
	p.list = append(p.list, Problem{Code: code, Pointer: pointer, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &Invalid{Problems: p.list}
}

// Nearest returns the known name closest to name, or "" when none is close:
// at most a third of its letters may differ.
func Nearest(name string, known []string) string {
	best, bestDist := "", len(name)/3+1
	for _, k := range known {
		if max(len(name)-len(k), len(k)-len(name)) > bestDist {
			continue // that many letters differ in any case
		}
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d <= bestDist {
			if best == "" || d < bestDist {
				best, bestDist = k, d
			}
		}
	}
	return best
}

// Either lists words for a message: "a, b or c".
func Either[W ~string](words []W) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		diag := prev[0]
		prev[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(prev[j+1]+1, prev[j]+1, diag+cost)
			diag, prev[j+1] = prev[j+1], next
		}
	}
	return prev[len(b)]
}
