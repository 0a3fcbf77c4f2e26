package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/moby/buildkit/util/progress/progressui"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// view prints the log of a job: the build through BuildKit's display, the
// container's bytes to stdout and stderr, the farm's notes to stderr. It
// belongs to one goroutine; the display's own goroutine shares only errw.
type view struct {
	// out and errOut take the container's stdout and stderr.
	out, errOut io.Writer
	// errw takes the display and the notes, one write at a time.
	errw  *lockedWriter
	mode  progressui.DisplayMode
	color bool
	paint painter
	// quiet shows nothing at all.
	quiet bool
	// lines print the log in place of the display and the container's bytes, nil for these.
	lines *logLines

	build *buildDisplay
	// held are notes that wait until a drawn display is closed.
	held []string
	// midLine is true when the container's last byte left the line open.
	midLine bool
}

// newView makes the view of a verb. With dataOnStdout the container's stdout
// moves to stderr, because stdout carries a document.
func (a *app) newView(mode progressui.DisplayMode, quiet, dataOnStdout bool) *view {
	errw := &lockedWriter{w: a.stderr}
	v := &view{
		out: a.screen(a.stdout), errw: errw, mode: mode, quiet: quiet,
		color: a.colored(a.stderr), paint: a.paint(a.stderr),
	}
	v.errOut = errw
	if isTerminal(a.stderr) {
		v.errOut = &sanitizer{w: errw, keepColor: v.color}
	}
	if dataOnStdout {
		v.out = v.errOut
	}
	return v
}

// frame shows one frame of the log. Writers that fail are not reported: a
// reader that went away must not change what became of the job.
func (v *view) frame(f jobs.Frame) {
	if v.quiet || len(f.Data) == 0 {
		return
	}
	if v.lines != nil {
		v.lines.frame(f)
		return
	}
	switch f.Stream {
	case jobs.BuildStatus:
		v.status(f.Data)
	case jobs.Stdout, jobs.Stderr:
		v.closeBuild()
		w := v.out
		if f.Stream == jobs.Stderr {
			w = v.errOut
		}
		_, _ = w.Write(f.Data)
		v.midLine = f.Data[len(f.Data)-1] != '\n'
	case jobs.Note:
		for line := range bytes.Lines(f.Data) {
			v.note("%s", oneLine(string(line)))
		}
	}
}

func (v *view) status(data []byte) {
	if v.mode == progressui.QuietMode {
		return
	}
	if v.build == nil {
		if v.build = v.openBuild(); v.build == nil {
			return
		}
	}
	v.build.show(data)
}

func (v *view) openBuild() *buildDisplay {
	var clean func([]byte) []byte
	if isTerminal(v.errw.w) {
		clean = v.clean
	}
	var w io.Writer = v.errw
	if v.mode == progressui.TtyMode { // only a file can be drawn on
		w = v.errw.w
		if f, ok := w.(*os.File); ok && !v.color {
			w = plainFile{f}
		}
	}
	d, err := openDisplay(w, v.mode, clean)
	if err != nil {
		v.note("no build progress: %v", err)
		v.mode = progressui.QuietMode
		return nil
	}
	return d
}

func (v *view) clean(b []byte) []byte { return clean(b, v.color) }

// note prints a line of the farm.
func (v *view) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	switch {
	case v.lines != nil:
		v.lines.note(v.paint.yellow(line))
	case v.quiet || v.mode == progressui.RawJSONMode && v.build != nil:
	case v.mode == progressui.TtyMode && v.build != nil:
		v.held = append(v.held, line)
	default:
		v.resetColor()
		v.endLine()
		fmt.Fprintln(v.errw, v.paint.yellow(line))
	}
}

// endLine keeps a note from being glued to a container's last line. It only
// matters to eyes: bytes for a file or a pipe stay as they came.
func (v *view) endLine() {
	if v.midLine && isTerminal(v.errw.w) {
		fmt.Fprintln(v.errw)
	}
	v.midLine = false
}

// closeBuild ends the display, so that others can write.
func (v *view) closeBuild() {
	if v.build == nil {
		return
	}
	v.build.close()
	v.build = nil
	held := v.held
	v.held = nil
	for _, line := range held {
		v.note("%s", line)
	}
}

// caughtUp tells that all of the log that was there has come.
func (v *view) caughtUp() {
	if v.lines != nil {
		v.lines.caughtUp()
	}
}

// close leaves the terminal in order. The view can be used again afterwards.
func (v *view) close() {
	if v.lines != nil {
		v.lines.close(v.resetColor)
		return
	}
	v.closeBuild()
	v.resetColor()
	v.endLine()
}

// resetColor ends a colour that the container left on.
func (v *view) resetColor() {
	for _, w := range []io.Writer{v.out, v.errOut} {
		if s, ok := w.(*sanitizer); ok {
			s.Reset()
		}
	}
}

// lockedWriter lets the display and the notes share stderr.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
