package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"slices"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// buildDisplay is BuildKit's own progress display, fed with the status frames
// of a job. Its goroutine draws until close; it survives input that makes the
// display panic, because that input comes from a build.
type buildDisplay struct {
	ch   chan *client.SolveStatus
	done chan struct{}
	// clean is how text of the build is made safe for the terminal, nil when
	// the output is no terminal.
	clean func([]byte) []byte
}

// openDisplay starts a display on w, which must be a terminal for TtyMode.
func openDisplay(w io.Writer, mode progressui.DisplayMode, clean func([]byte) []byte) (*buildDisplay, error) {
	ui, err := progressui.NewDisplay(w, mode)
	if err != nil {
		return nil, err
	}
	d := &buildDisplay{ch: make(chan *client.SolveStatus), done: make(chan struct{}), clean: clean}
	go d.draw(ui)
	return d, nil
}

func (d *buildDisplay) draw(ui progressui.Display) {
	defer close(d.done)
	defer func() {
		if recover() != nil {
			for range d.ch { // the sender must not block
			}
		}
	}()
	// Not the caller's context: after an interrupt the display must still leave
	// the terminal in order, and close ends it.
	_, _ = ui.UpdateFrom(context.Background(), d.ch)
}

// show draws one SolveStatus. What is not one is left out: the log around it
// is worth more than the complaint.
func (d *buildDisplay) show(data []byte) {
	var s client.SolveStatus
	if json.Unmarshal(data, &s) != nil {
		return
	}
	s.Vertexes = slices.DeleteFunc(s.Vertexes, func(v *client.Vertex) bool { return v == nil })
	s.Statuses = slices.DeleteFunc(s.Statuses, func(v *client.VertexStatus) bool { return v == nil })
	s.Logs = slices.DeleteFunc(s.Logs, func(v *client.VertexLog) bool { return v == nil })
	s.Warnings = slices.DeleteFunc(s.Warnings, func(v *client.VertexWarning) bool { return v == nil })
	if d.clean != nil {
		d.sanitize(&s)
	}
	d.ch <- &s
}

func (d *buildDisplay) sanitize(s *client.SolveStatus) {
	text := func(p *string) { *p = string(d.clean([]byte(*p))) }
	for _, v := range s.Vertexes {
		text(&v.Name)
		text(&v.Error)
	}
	for _, v := range s.Statuses {
		text(&v.ID)
		text(&v.Name)
	}
	for _, l := range s.Logs {
		l.Data = d.clean(l.Data)
	}
	for _, w := range s.Warnings {
		w.Short = d.clean(w.Short)
		for i := range w.Detail {
			w.Detail[i] = d.clean(w.Detail[i])
		}
	}
}

func (d *buildDisplay) close() {
	close(d.ch)
	<-d.done
}

// plainFile is a terminal whose writer takes the colours out: BuildKit's
// display itself knows NO_COLOR, but not --color=never.
type plainFile struct{ *os.File }

// Write implements io.Writer.
func (f plainFile) Write(p []byte) (int, error) {
	if _, err := f.File.Write(stripSGR(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// stripSGR takes whole colour sequences out of what the display draws; it
// writes each sequence in one piece.
func stripSGR(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == 0x1b && i+1 < len(p) && p[i+1] == '[' {
			end := i + 2
			for end < len(p) && (p[end] >= '0' && p[end] <= '9' || p[end] == ';') {
				end++
			}
			if end < len(p) && p[end] == 'm' {
				i = end
				continue
			}
		}
		out = append(out, p[i])
	}
	return out
}
