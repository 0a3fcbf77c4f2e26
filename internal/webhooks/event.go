package webhooks

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// MaxEvent is more than any event has, in bytes.
const MaxEvent = 20_000

// jobType and the state of a job are the type of its event.
const jobType = "slipway.job."

// event is a CloudEvent 1.0 in structured mode.
type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject"`
	Time        time.Time `json:"time,omitzero"`
	ContentType string    `json:"datacontenttype"`
	Data        any       `json:"data"`
}

// outcome is the data of an event: who the job is, and what came of it. All else is in the
// job itself.
type outcome struct {
	ID       string            `json:"id"`
	State    jobs.State        `json:"state"`
	Name     string            `json:"name,omitempty"`
	Tenant   string            `json:"tenant,omitempty"`
	Queue    string            `json:"queue,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Failure  *failure          `json:"failure,omitempty"`
	ExitCode *int              `json:"exit_code,omitempty"`
	ImageID  string            `json:"image_id,omitempty"`
	// Images are name@digest of each pushed tag, Tags the names on the build host.
	Images    []string  `json:"images,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	Addresses []string  `json:"addresses,omitempty"`
	Rebuild   string    `json:"rebuild,omitempty"`
	Created   time.Time `json:"created,omitzero"`
	Started   time.Time `json:"started,omitzero"`
	Finished  time.Time `json:"finished,omitzero"`
	KeepUntil time.Time `json:"keep_until,omitzero"`
	// Truncated is true when something was left out because there was too much of it.
	Truncated bool `json:"truncated,omitempty"`
}

type failure struct {
	Stage   jobs.Stage `json:"stage,omitempty"`
	Kind    jobs.Kind  `json:"kind"`
	Fault   jobs.Fault `json:"fault"`
	Message string     `json:"message"`
}

// newCall makes the call that brings the end of a job to whom. It has the same ID each time
// it is made of the same end.
func newCall(farm, whom string, e jobs.EndedJob) (jobs.HookCall, error) {
	c := jobs.HookCall{Type: jobType + string(e.State), Job: e.ID}
	data, finished := outcomeOf(e), time.Time{}
	if e.Job != nil {
		finished = e.Job.Finished
	}
	c.ID = callID(whom, e.ID, string(e.State), fmt.Sprint(finished.UnixMicro()))
	var err error
	c.Event, err = bounded(event{Subject: e.ID, Type: c.Type, ID: c.ID, Time: finished, Source: source(farm)}, data)
	return c, err
}

// testEvent is the event that tries a webhook out.
func testEvent(farm string, c jobs.HookCall) ([]byte, error) {
	return encode(event{Subject: c.Hook, Type: c.Type, ID: c.ID, Time: c.Made, Source: source(farm)}, map[string]string{"webhook": c.Hook})
}

func source(farm string) string { return "urn:slipway:farm:" + url.PathEscape(farm) }

// callID is an ID that follows from what it stands for.
func callID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "msg_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// outcomeOf is what an event tells of a job. Of one whose record is gone that is little.
func outcomeOf(e jobs.EndedJob) outcome {
	o := outcome{ID: e.ID, State: e.State}
	if e.Job == nil {
		return o
	}
	j := *e.Job
	o.Name, o.Tenant, o.Queue, o.Labels, o.Attempt = j.Spec.Name, j.Spec.Tenant, j.Spec.Queue, j.Spec.Labels, j.Attempt
	o.Created, o.Started, o.Finished = j.Created, j.Started, j.Finished
	if j.Spec.Cause != nil {
		o.Rebuild = j.Spec.Cause.Rebuild
	}
	r := j.Result
	if r == nil {
		return o
	}
	o.ExitCode, o.ImageID, o.Images, o.Tags, o.Addresses, o.KeepUntil = r.ExitCode, r.ImageID, r.RepoDigests, r.Tags, r.Addresses, r.KeepUntil
	if f := r.Failure; f != nil {
		o.Failure = &failure{f.Stage, f.Kind, f.Kind.Info().Fault, jobs.Line(f.Message, maxMessage)}
	}
	return o
}

// maxMessage bounds the sentence of a failure, in bytes.
const maxMessage = 1000

// bounded is an event that is not too large: it leaves out labels, and then most of the
// images.
func bounded(e event, o outcome) ([]byte, error) {
	for {
		raw, err := encode(e, o)
		if err != nil || len(raw) < MaxEvent {
			return raw, err
		}
		switch o.Truncated = true; {
		case len(o.Labels) > 0:
			o.Labels = nil
		case len(o.Images)+len(o.Tags)+len(o.Addresses) > 0:
			o.Images, o.Tags, o.Addresses = o.Images[:len(o.Images)/2], o.Tags[:len(o.Tags)/2], o.Addresses[:len(o.Addresses)/2]
		default:
			return nil, fmt.Errorf("the event of job %s has %d bytes", o.ID, len(raw))
		}
	}
}

func encode(e event, data any) ([]byte, error) {
	e.SpecVersion, e.ContentType, e.Data = "1.0", "application/json", data
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode the event of %s: %w", e.Subject, err)
	}
	return raw, nil
}
