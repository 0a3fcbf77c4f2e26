package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	// idWidth is how much of an ID a narrow table shows: of a UUID the moment at which the job
	// was made, in milliseconds.
	idWidth = 13
	// narrowest is how narrow the second column may become.
	narrowest = 12
)

// terminalWidth is how many columns a terminal has, 0 for what is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// writeTable writes rows below each other. With a width it cuts, where they do not fit: IDs, which
// are the first column, to their beginning, then the second column, then the ends of lines.
func writeTable(w io.Writer, rows [][]string, width int, ascii bool) error {
	end := "…"
	if ascii {
		end = "..."
	}
	gap := "   "
	if width > 0 {
		gap = "  "
	}
	if width > 0 && lineWidth(columns(rows), gap) > width {
		for i := range rows {
			rows[i][0] = cut(rows[i][0], idWidth, "")
		}
		widths := columns(rows)
		if over := lineWidth(widths, gap) - width; over > 0 {
			for i := range rows {
				rows[i][1] = cut(rows[i][1], max(widths[1]-over, narrowest), end)
			}
		}
	}
	widths := columns(rows)
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + gap)
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if width > 0 {
			text = cut(text, width, "")
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// columns are the widths of the columns, in characters.
func columns(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

func lineWidth(widths []int, gap string) int {
	n := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		n += w
	}
	return n
}

// cut leaves at most so many characters of a text, the last of which is end.
func cut(text string, most int, end string) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-utf8.RuneCountInString(end)]) + end
}
