package api

import (
	"math"
	"net/http"
	"strings"

	"github.com/slipway-farm/slipway/internal/buildlog"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/logread"
	"github.com/slipway-farm/slipway/internal/safetext"
)

// summary says in one bounded document why a job did not succeed.
type summary struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	State    jobs.State `json:"state"`
	Kind     jobs.Kind  `json:"kind"`
	Fault    jobs.Fault `json:"fault"`
	Stage    jobs.Stage `json:"stage,omitempty"`
	Message  string     `json:"message"`
	Cause    string     `json:"cause,omitempty"`
	Hint     string     `json:"hint,omitempty"`
	ExitCode *int       `json:"exit_code,omitempty"`
	Attempt  int        `json:"attempt"`
	Worker   string     `json:"worker,omitempty"`
	Host     string     `json:"host,omitempty"`
	// Tail is the last output before the failure.
	Tail []string `json:"tail"`
	// Cut is true when lines of the tail were left out for max_bytes.
	Cut bool `json:"cut,omitempty"`
	// Log is where the whole log is.
	Log string `json:"log"`
}

// failure answers GET /v1/jobs/{id}/failure.
func (s *Server) failure(x *exchange) error {
	most, err := x.number("max_bytes", 1024, 64<<10, 4096)
	if err != nil {
		return err
	}
	job, err := s.job(x)
	switch {
	case err != nil:
		return err
	case !job.State.Terminal():
		return problem("job_not_finished", "job %s is %s", job.ID, job.State)
	case job.Result == nil || job.Result.Failure == nil:
		return problem("not_found", "job %s is %s: there is no failure", job.ID, job.State)
	}
	r, f := job.Result, job.Result.Failure
	sum := summary{
		ID: job.ID, Name: job.Spec.Name, State: job.State, Kind: f.Kind, Fault: f.Kind.Info().Fault, Stage: f.Stage,
		Message: f.Message, Cause: f.Cause, Hint: f.Hint, ExitCode: r.ExitCode, Attempt: max(r.Attempt, 1), Worker: r.Worker, Host: r.Host,
		Tail: append([]string{}, f.Tail...), Log: "/v1/jobs/" + job.ID + "/logs",
	}
	sum.harmless()
	if err := sum.fit(most); err != nil {
		return err
	}
	if accept := x.Request.Header.Get("Accept"); strings.HasPrefix(accept, "text/plain") {
		return x.text("%s", sum.lines())
	}
	return x.json(http.StatusOK, sum)
}

// harmless takes out of the words of strangers what acts on a terminal, or on who reads them.
func (sum *summary) harmless() {
	for _, p := range []*string{&sum.Name, &sum.Message, &sum.Cause, &sum.Hint, &sum.Worker, &sum.Host} {
		*p = jobs.Line(*p, math.MaxInt)
	}
	for i, line := range sum.Tail {
		sum.Tail[i] = safetext.Line(line)
	}
}

// fit makes the document at most so many bytes long: the first lines of the tail go first,
// then the ends of the farm's words.
func (sum *summary) fit(most int) error {
	for {
		raw, err := marshal(sum)
		switch over := len(raw) + 1 - most; {
		case err != nil || over <= 0:
			return err
		case len(sum.Tail) > 0:
			sum.Tail, sum.Cut = sum.Tail[1:], true
		case sum.Cause != "":
			sum.Cause = ""
		case sum.Hint != "":
			sum.Hint = ""
		case len(sum.Message) > 64:
			sum.Message = jobs.Line(sum.Message, max(64, len(sum.Message)-over))
		default:
			return nil // what is left is bounded by itself
		}
	}
}

func (sum *summary) lines() string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\n")
		}
	}
	field("job", strings.TrimSpace(sum.ID+" "+sum.Name))
	field("state", string(sum.State))
	field("stage", string(sum.Stage))
	field("why", sum.Message+" ("+string(sum.Kind)+")")
	field("cause", sum.Cause)
	field("fault", string(sum.Fault))
	field("hint", sum.Hint)
	for _, line := range sum.Tail {
		b.WriteString("  | " + line + "\n")
	}
	field("log", sum.Log)
	return b.String()
}

// steps answers GET /v1/jobs/{id}/steps: the stages of the job's last attempt, and the steps of
// its build.
func (s *Server) steps(x *exchange) error {
	job, err := s.job(x)
	if err != nil {
		return err
	}
	if !s.follows.take(x.who.Token) {
		return s.tooManyFollow()
	}
	defer s.follows.give(x.who.Token)
	found := stepsOf{}
	l := s.reading(job, logread.Place{}, discard{})
	if err := l.print(x.Context()); err != nil {
		return err
	}
	if job.Result != nil {
		found.Stages = job.Result.Times
	}
	found.Build = append([]buildlog.Step{}, l.build.Steps()...)
	return x.json(http.StatusOK, found)
}

type stepsOf struct {
	Stages []jobs.StageTime `json:"stages,omitempty"`
	Build  []buildlog.Step  `json:"build"`
}

// discard is for a log that is read for what is in it.
type discard struct{}

func (discard) begin()               {}
func (discard) entry(entry) error    { return nil }
func (discard) state(jobs.Job) error { return nil }
func (discard) done(jobs.Job) error  { return nil }
func (discard) idle() error          { return nil }
func (discard) flush() error         { return nil }
