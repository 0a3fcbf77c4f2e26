package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moby/buildkit/util/progress/progressui"
	"golang.org/x/term"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// dumb reports whether progress cannot be drawn: the terminal is dumb, or it is a CI's.
func (a *app) dumb() bool { return a.getenv("TERM") == "dumb" || a.getenv("CI") != "" }

// progressMode settles --progress: flag, SLIPWAY_PROGRESS, BUILDKIT_PROGRESS,
// then tty when stderr is a terminal that can be drawn on. One that was asked for and
// cannot be had is plain, as in docker; quiet has that not said.
func (a *app) progressMode(flag string, quiet bool) (progressui.DisplayMode, error) {
	from := "--progress"
	if flag == "" {
		flag, from = a.getenv("SLIPWAY_PROGRESS"), "SLIPWAY_PROGRESS"
	}
	if flag == "" {
		flag, from = a.getenv("BUILDKIT_PROGRESS"), "BUILDKIT_PROGRESS"
	}
	tty := isTerminal(a.stderr)
	switch mode := progressui.DisplayMode(flag); mode {
	case progressui.PlainMode, progressui.RawJSONMode, progressui.QuietMode:
		return mode, nil
	case progressui.TtyMode:
		if !tty {
			if !quiet {
				fmt.Fprintf(a.stderr, "%s: tty needs a terminal on stderr; the progress is plain\n", from)
			}
			return progressui.PlainMode, nil
		}
		return mode, nil
	case progressui.AutoMode, progressui.DefaultMode:
		if tty && !a.dumb() {
			return progressui.TtyMode, nil
		}
		return progressui.PlainMode, nil
	default:
		return "", usage("", "%s: unknown display %q: want auto, tty, plain, rawjson or quiet", from, flag)
	}
}

// colored reports whether text for w may carry colours: --color, NO_COLOR,
// CLICOLOR_FORCE and FORCE_COLOR, then whether w is a terminal.
func (a *app) colored(w io.Writer) bool {
	switch {
	case a.color == "always":
		return true
	case a.color == "never":
		return false
	case a.getenv("NO_COLOR") != "":
		return false
	case a.getenv("CLICOLOR_FORCE") != "" && a.getenv("CLICOLOR_FORCE") != "0", a.getenv("FORCE_COLOR") != "":
		return true
	default:
		return isTerminal(w) && !a.dumb()
	}
}

// painter colours words, or leaves them as they are; with ascii it writes no other letters
// and signs of its own.
type painter struct{ on, ascii bool }

func (a *app) paint(w io.Writer) painter { return painter{on: a.colored(w), ascii: a.ascii()} }

// ascii reports whether the locale or the terminal has ASCII alone. One that does not say is
// taken for a UTF-8 one, as nearly all are.
func (a *app) ascii() bool {
	locale := cmp.Or(a.getenv("LC_ALL"), a.getenv("LC_CTYPE"), a.getenv("LANG"))
	charset := strings.ReplaceAll(strings.ToLower(locale), "-", "")
	return a.getenv("TERM") == "dumb" || locale != "" && !strings.Contains(charset, "utf8")
}

func (p painter) sgr(code, s string) string {
	if !p.on {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p painter) red(s string) string    { return p.sgr("31", s) }
func (p painter) green(s string) string  { return p.sgr("32", s) }
func (p painter) yellow(s string) string { return p.sgr("33", s) }
func (p painter) bold(s string) string   { return p.sgr("1", s) }

// state is a glyph and a word, so that colour never carries the meaning alone.
func (p painter) state(s jobs.State) string {
	glyph := func(sign, ascii string) string {
		if p.ascii {
			sign = ascii
		}
		return sign + " " + string(s)
	}
	switch s {
	case jobs.Queued:
		return glyph("○", "o")
	case jobs.Running:
		return p.bold(glyph("●", "*"))
	case jobs.Waiting:
		return p.yellow(glyph("◌", "~"))
	case jobs.Succeeded:
		return p.green(glyph("✓", "+"))
	case jobs.Cancelled:
		return p.yellow(glyph("⊘", "-"))
	default:
		return p.red(glyph("✗", "x"))
	}
}

// screen wraps w for bytes that strangers wrote: a terminal gets them without
// the sequences that could harm it, everything else gets them untouched.
func (a *app) screen(w io.Writer) io.Writer {
	if !isTerminal(w) {
		return w
	}
	return &sanitizer{w: w, keepColor: a.colored(w)}
}
