// Package buildlog reads what BuildKit says of a build (the frames [jobs.BuildStatus] of a
// log): as lines of text, and as the steps with their times. The HTTP API shows builds by it.
package buildlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// status is a BuildKit SolveStatus, as far as it is shown.
type status struct {
	Vertexes []*vertex   `json:"vertexes"`
	Statuses []*progress `json:"statuses"`
	Logs     []*output   `json:"logs"`
	Warnings []*warning  `json:"warnings"`
}

type vertex struct {
	Digest    string     `json:"digest"`
	Name      string     `json:"name"`
	Started   *time.Time `json:"started"`
	Completed *time.Time `json:"completed"`
	Cached    bool       `json:"cached"`
	Error     string     `json:"error"`
}

type progress struct {
	ID        string     `json:"id"`
	Vertex    string     `json:"vertex"`
	Completed *time.Time `json:"completed"`
}

type output struct {
	Vertex    string    `json:"vertex"`
	Data      []byte    `json:"data"`
	Timestamp time.Time `json:"timestamp"`
}

type warning struct {
	Short []byte `json:"short"`
}

// Step is a step of a build. Times are the build host's.
type Step struct {
	// Number counts the steps from 1 as they began.
	Number int    `json:"number"`
	Name   string `json:"name"`
	// Started is when it last began, Completed when it ended, zero while it runs.
	Started   time.Time `json:"started,omitzero"`
	Completed time.Time `json:"completed,omitzero"`
	Cached    bool      `json:"cached,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// A Dockerfile can have many steps, and each of them names, errors and transfers: a reader keeps
// some 16 MiB of a build at most, whatever that says.
const (
	// maxSteps is how many steps are kept. Output of later ones has no number.
	maxSteps = 10_000
	// maxLine bounds a line of BuildKit's own, in bytes. Once the texts of the steps have more
	// than maxText bytes, what is kept of each is shortLine.
	maxLine, maxText, shortLine = 4096, 4 << 20, 80
	// maxTransfers is how many transfers are told of.
	maxTransfers = 50_000
)

// Reader reads the messages of one build in their order. The zero value is before the
// first of them. What it keeps of them is bounded.
type Reader struct {
	steps  []*Step
	byName map[string]*step // by the digests of vertexes
	// more is true once there were more steps than are kept.
	more bool
	// texts and parts are how many bytes of text and of unfinished lines the steps have.
	texts, parts int
	// done are the transfers that were told of, by a hash of their step and ID.
	done map[uint64]struct{}
	seed maphash.Seed
}

// step is a step with what is needed to write its lines.
type step struct {
	*Step
	// part is a line of output that has not ended.
	part []byte
}

// Steps are the steps so far, in the order in which they began.
func (r *Reader) Steps() []Step {
	all := make([]Step, len(r.steps))
	for i, s := range r.steps {
		all[i] = *s
	}
	return all
}

// Lines takes the next message and returns what is new as lines, each with its newline, in
// the words of docker build --progress=plain. What is no message has none.
func (r *Reader) Lines(message []byte) string {
	var st status
	if json.Unmarshal(message, &st) != nil {
		return ""
	}
	var b strings.Builder
	for _, v := range st.Vertexes {
		if v != nil && v.Started != nil {
			r.begin(&b, v)
		}
	}
	for _, p := range st.Statuses {
		if p == nil || p.Completed == nil {
			continue
		}
		if s := r.byName[p.Vertex]; s != nil && r.ends(s, p.ID) {
			fmt.Fprintf(&b, "#%d %s done\n", s.Number, line(p.ID))
		}
	}
	for _, l := range st.Logs {
		if l != nil {
			r.output(&b, l)
		}
	}
	for _, w := range st.Warnings {
		if w != nil {
			fmt.Fprintf(&b, "WARNING: %s\n", line(string(w.Short)))
		}
	}
	for _, v := range st.Vertexes {
		if v != nil && v.Completed != nil {
			r.end(&b, v)
		}
	}
	return b.String()
}

func (r *Reader) begin(b *strings.Builder, v *vertex) {
	if s := r.byName[v.Digest]; s != nil {
		s.Started = *v.Started // a step may run again, once others have what it needs
		return
	}
	if len(r.steps) == maxSteps {
		if !r.more {
			r.more = true
			fmt.Fprintf(b, "WARNING: the build has more than %d steps; those that follow have no numbers\n", maxSteps)
		}
		fmt.Fprintf(b, "%s\n", line(v.Name))
		return
	}
	if r.byName == nil {
		r.byName = map[string]*step{}
	}
	name := line(v.Name)
	s := &step{Step: &Step{Number: len(r.steps) + 1, Name: r.kept(name), Started: *v.Started}}
	r.byName[r.kept(v.Digest)] = s
	r.steps = append(r.steps, s.Step)
	fmt.Fprintf(b, "#%d %s\n", s.Number, name)
}

// kept is what is kept of a text.
func (r *Reader) kept(text string) string {
	if r.texts > maxText {
		text = jobs.Line(text, shortLine)
	}
	r.texts += len(text)
	return text
}

// ends reports whether a transfer of a step has ended that was not told of.
func (r *Reader) ends(s *step, id string) bool {
	if r.done == nil {
		r.done, r.seed = map[uint64]struct{}{}, maphash.MakeSeed()
	}
	key := maphash.Comparable(r.seed, struct {
		step int
		id   string
	}{s.Number, id})
	if _, told := r.done[key]; told || len(r.done) == maxTransfers {
		return false
	}
	r.done[key] = struct{}{}
	return true
}

// output writes whole lines, and keeps the rest until more comes.
func (r *Reader) output(b *strings.Builder, l *output) {
	s := r.byName[l.Vertex]
	if s == nil {
		if r.more {
			b.Write(l.Data)
		}
		return
	}
	for data := l.Data; len(data) > 0; {
		text, rest, whole := bytes.Cut(data, []byte("\n"))
		s.part = append(s.part, text...)
		r.parts += len(text)
		if whole || r.parts > jobs.MaxFrame { // of all steps together
			r.write(b, s, l.Timestamp)
		}
		data = rest
	}
}

// write writes what there is of a line of output. A carriage return draws over what is before it.
func (r *Reader) write(b *strings.Builder, s *step, at time.Time) {
	text := bytes.TrimSuffix(s.part, []byte("\r"))
	if i := bytes.LastIndexByte(text, '\r'); i >= 0 {
		text = text[i+1:]
	}
	seconds := max(0, at.Sub(s.Started).Seconds())
	fmt.Fprintf(b, "#%d %.3f %s\n", s.Number, seconds, text)
	r.parts -= len(s.part)
	s.part = nil
}

func (r *Reader) end(b *strings.Builder, v *vertex) {
	s := r.byName[v.Digest]
	if s == nil {
		return
	}
	if s.Completed.After(s.Started) || s.Completed.Equal(s.Started) { // it is told again
		s.Completed = *v.Completed
		return
	}
	if len(s.part) > 0 {
		r.write(b, s, *v.Completed)
	}
	s.Completed, s.Cached, s.Error = *v.Completed, v.Cached, r.kept(line(v.Error))
	switch {
	case v.Error != "":
		fmt.Fprintf(b, "#%d ERROR: %s\n", s.Number, line(v.Error))
	case v.Cached:
		fmt.Fprintf(b, "#%d CACHED\n", s.Number)
	default:
		fmt.Fprintf(b, "#%d DONE %.1fs\n", s.Number, max(0, s.Completed.Sub(s.Started).Seconds()))
	}
}

// line is text of BuildKit's own as one printable line.
func line(text string) string { return jobs.Line(text, maxLine) }
