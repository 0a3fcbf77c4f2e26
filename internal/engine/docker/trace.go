package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/pkg/jsonmessage"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
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
	imageID string
	steps   map[digest.Digest]*step
	order   []*step // as they appeared
}

// step is a vertex of the build graph.
type step struct {
	name string
	err  string
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
	for _, v := range s.Vertexes {
		st := t.step(v.Digest)
		st.name = v.Name
		if v.Error != "" {
			st.err = v.Error
		}
	}
	for _, l := range s.Logs {
		t.step(l.Vertex).tail.add(string(l.Data))
	}
	if t.status == nil {
		return nil
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write build status: %w", err)
	}
	t.status(raw)
	return nil
}

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
// Steps beside it were cancelled.
func (t *trace) failed() *step {
	for _, st := range t.order {
		if st.err != "" && !strings.HasSuffix(st.err, "context canceled") {
			return st
		}
	}
	return nil
}

// tail keeps the last lines of an output that comes in pieces.
type tail struct {
	lines []string // whole ones
	part  string   // the last one, as far as it came
}

func (t *tail) add(text string) {
	for {
		line, rest, whole := strings.Cut(text, "\n")
		if len(t.part) < maxLine {
			t.part += line[:min(len(line), maxLine-len(t.part))]
		}
		if !whole {
			return
		}
		t.lines = append(t.lines, t.part)
		t.lines = t.lines[max(0, len(t.lines)-maxTail):]
		t.part, text = "", rest
	}
}

func (t *tail) last() []string {
	all := t.lines
	if t.part != "" {
		all = append(all[:len(all):len(all)], t.part)
	}
	return all[max(0, len(all)-maxTail):]
}
