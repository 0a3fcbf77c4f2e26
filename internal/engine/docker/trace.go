package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docker/docker/pkg/jsonmessage"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-farm/slipway/internal/safetext"
)

// IDs of the messages in the daemon's answer to a build.
const (
	traceMessage = "moby.buildkit.trace"
	imageMessage = "moby.image.id"
)

// maxTail is how many of a step's last lines a failure shows, maxLine how much
// of each.
const (
	maxTail = 20
	maxLine = 2 << 10
)

// trace reads the answer to a build and remembers what a result or a failure
// is made of.
type trace struct {
	status  func([]byte)
	clipped func() // nil where that is not of interest
	cover   cover
	imageID string
	steps   map[digest.Digest]*step
	order   []*step // as they appeared
}

// step is a vertex of the build graph.
type step struct {
	name string
	err  string
	// open is set while it goes on, and when the end of the build cut it off.
	open bool
	tail tail
}

func newTrace(status func([]byte)) *trace {
	return &trace{status: status, steps: map[digest.Digest]*step{}}
}

// solveError is what the daemon said in the stream.
type solveError struct{ text string }

func (e *solveError) Error() string { return e.text }

// read reads the answer to its end. The status is 200 even when the build
// fails.
func (t *trace) read(body io.Reader) error {
	dec := json.NewDecoder(body)
	for {
		var m jsonmessage.JSONMessage
		err := dec.Decode(&m)
		switch {
		case errors.Is(err, io.EOF) && t.imageID == "":
			return io.ErrUnexpectedEOF // neither an image nor an error: cut off
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != nil:
			return &solveError{m.Error.Message}
		case m.Aux != nil:
			if err := t.aux(m.ID, *m.Aux); err != nil {
				return err
			}
		}
	}
}

func (t *trace) aux(id string, raw json.RawMessage) error {
	switch id {
	case imageMessage:
		var image struct{ ID string }
		if err := json.Unmarshal(raw, &image); err != nil {
			return fmt.Errorf("read image ID: %w", err)
		}
		t.imageID = image.ID
	case traceMessage:
		var packed []byte
		var resp control.StatusResponse
		if err := json.Unmarshal(raw, &packed); err != nil {
			return fmt.Errorf("read build status: %w", err)
		}
		if err := resp.UnmarshalVT(packed); err != nil {
			return fmt.Errorf("read build status: %w", err)
		}
		return t.add(client.NewSolveStatus(&resp))
	}
	return nil
}

func (t *trace) add(s *client.SolveStatus) error {
	t.cover.logs(s)
	return t.take(s)
}

// end takes what was held back of the outputs, once no more comes.
func (t *trace) end() error {
	if s := t.cover.rest(); len(s.Logs) > 0 {
		return t.take(s)
	}
	return nil
}

func (t *trace) take(s *client.SolveStatus) error {
	for _, v := range s.Vertexes {
		st := t.step(v.Digest)
		st.name = v.Name
		if v.Error != "" {
			st.err = v.Error
		}
		late := strings.HasSuffix(v.Error, context.DeadlineExceeded.Error()) // the engine knows when, too
		st.open = v.Started != nil && (v.Completed == nil || isCut(v.Error) || late)
	}
	for _, l := range s.Logs {
		t.step(l.Vertex).tail.add(l.Stream, string(l.Data))
		if t.clipped != nil && bytes.Contains(l.Data, []byte(clippedMark)) {
			t.clipped()
		}
	}
	for _, v := range s.Vertexes { // one that went well is not what a failure quotes, and there may be many
		if v.Completed != nil && v.Error == "" {
			t.step(v.Digest).tail = tail{}
		}
	}
	if t.status == nil {
		return nil
	}
	t.cover.names(s)
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write build status: %w", err)
	}
	t.status(raw)
	return nil
}

// clippedMark is what BuildKit puts into the output of a step where it leaves some out.
const clippedMark = "[output clipped, log limit "

func (t *trace) step(d digest.Digest) *step {
	st := t.steps[d]
	if st == nil {
		st = &step{}
		t.steps[d] = st
		t.order = append(t.order, st)
	}
	return st
}

// failed returns the step that broke the build, nil when it broke elsewhere.
// Steps beside it were cancelled. BuildKit's own vertices may end in errors, too, when a
// build breaks off: one of them is the cause only when no step of the Dockerfile is.
func (t *trace) failed() *step {
	var internal *step
	for _, st := range t.order {
		switch {
		case st.err == "" || isCut(st.err):
		case !strings.HasPrefix(st.name, "[internal]"):
			return st
		case internal == nil:
			internal = st
		}
	}
	return internal
}

// cut returns the only step that the end of the build cut off, with what ended the build
// as its error, nil when it is not the only one: version 29 may say of the very step that
// broke the build that the build ended.
func (t *trace) cut(text string) *step {
	var found *step
	for _, st := range t.order {
		if !isCut(st.err) || strings.HasPrefix(st.name, "[internal]") || resolvedBy(st.name).ref != "" {
			continue
		}
		if found != nil {
			return nil
		}
		found = &step{name: st.name, err: text, tail: st.tail}
	}
	return found
}

// isCut reports whether a step ended because the build did.
func isCut(text string) bool { return strings.HasSuffix(text, context.Canceled.Error()) }

// awaits returns the image that a build waits for, "" when it does anything else, too.
func (t *trace) awaits() string {
	ref := ""
	for _, st := range t.order {
		if !st.open || strings.HasPrefix(st.name, "[auth] ") { // a login for the image
			continue
		}
		if ref = resolvedBy(st.name).ref; ref == "" {
			return ""
		}
	}
	return ref
}

// tail keeps the last lines of an output that comes in pieces, on two streams.
// BuildKit passes on what came at the same time one stream after the other, so
// the end of one must not push out the end of the other: it may be the reason.
type tail struct {
	stdout, stderr stream
	count          int // lines so far
}

// stream is one of the two.
type stream struct {
	lines []line // whole ones
	part  string // the last one, as far as it came
}

type line struct {
	at   int // place among the lines of both streams
	text string
}

// stderrStream is what BuildKit calls stderr in a VertexLog.
const stderrStream = 2

func (t *tail) add(number int, text string) {
	s := &t.stdout
	if number == stderrStream {
		s = &t.stderr
	}
	for {
		part, rest, whole := strings.Cut(text, "\n")
		if len(s.part) < maxLine {
			s.part += part[:min(len(part), maxLine-len(s.part))]
		}
		if !whole {
			return
		}
		t.count++
		s.lines = append(s.lines, line{t.count, s.part})
		s.lines = s.lines[max(0, len(s.lines)-maxTail):]
		s.part, text = "", rest
	}
}

// last returns the end of both streams, each with at least half of the lines
// if it has that many.
func (t *tail) last() []string {
	out, errs := t.stdout.end(t.count), t.stderr.end(t.count)
	n := min(len(errs), max(maxTail/2, maxTail-len(out)))
	all := append(errs[len(errs)-n:], out[max(0, len(out)-(maxTail-n)):]...)
	slices.SortStableFunc(all, func(a, b line) int { return a.at - b.at })
	var texts []string
	for _, l := range all {
		texts = append(texts, safetext.Line(l.text))
	}
	return texts
}

// end returns the last lines with the one that was not ended.
func (s *stream) end(count int) []line {
	all := slices.Clone(s.lines)
	if s.part != "" {
		all = append(all, line{count + 1, s.part})
	}
	return all
}
