package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/safetext"
)

// textWriter writes a log as text: the container's bytes as they came, the build as docker
// build --progress=plain has it, and lines of the farm in brackets.
type textWriter struct {
	*stream
	// open is true when the last byte was no newline.
	open bool
}

func (w *textWriter) entry(e entry) error {
	text := []byte(e.Text)
	if e.Base64 != "" {
		text, _ = base64.StdEncoding.DecodeString(e.Base64) // it was made just now
	}
	switch e.Stream {
	case "stdout", "stderr":
	case "gap":
		text = fmt.Appendf(nil, "[gap: %s]\n", e.Text)
		fallthrough
	default:
		if w.open {
			text = append([]byte("\n"), text...)
		}
	}
	w.open = text[len(text)-1] != '\n'
	return w.send(text)
}

func (w *textWriter) state(jobs.Job) error { return nil }
func (w *textWriter) done(jobs.Job) error  { return nil }
func (w *textWriter) idle() error          { return nil }

// lineWriter writes an entry in each line.
type lineWriter struct{ *stream }

func (w *lineWriter) entry(e entry) error {
	line, err := marshal(e)
	if err != nil {
		return err
	}
	return w.send(append(line, '\n'))
}

func (w *lineWriter) state(jobs.Job) error { return nil }
func (w *lineWriter) done(jobs.Job) error  { return nil }
func (w *lineWriter) idle() error          { return nil }

// eventWriter writes server-sent events: log with the place as its ID, so that a client that
// comes again goes on behind the last one; state, without an ID; and done, with the job.
type eventWriter struct {
	*stream
	told bool
}

// comeAgain is how soon a client comes again, in milliseconds.
const comeAgain = 1000

func (w *eventWriter) event(name, id string, doc any) error {
	data, err := marshal(doc)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if !w.told {
		fmt.Fprintf(&b, "retry: %d\n\n", comeAgain)
		w.told = true
	}
	fmt.Fprintf(&b, "event: %s\n", name)
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "data: %s\n\n", data)
	return w.send(b.Bytes())
}

func (w *eventWriter) entry(e entry) error { return w.event("log", e.Place, e) }

func (w *eventWriter) state(job jobs.Job) error {
	return w.event("state", "", struct {
		State   jobs.State `json:"state"`
		Stage   jobs.Stage `json:"stage,omitempty"`
		Attempt int        `json:"attempt"`
		Worker  string     `json:"worker,omitempty"`
	}{job.State, job.Stage, job.Attempt, job.Worker})
}

func (w *eventWriter) done(job jobs.Job) error { return w.event("done", "", job) }

// idle keeps what is between from taking the connection for dead.
func (w *eventWriter) idle() error { return w.send([]byte(": ping\n\n")) }

// marshal makes JSON that acts on no terminal, and is one line to whatever splits lines.
func marshal(doc any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return safetext.JSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}
