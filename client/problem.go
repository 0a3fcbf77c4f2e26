package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is what the server answers in place of what was asked for, as RFC 9457 has it. All
// methods of a Client return it in their errors:
//
//	if p, ok := errors.AsType[*client.Problem](err); ok && p.Kind() == "job_not_found" {
type Problem struct {
	// Type is /problems/ and a kind of the farm; the server has a page there that explains it.
	// It is about:blank when something else than the farm answered.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what was found, and what is wanted in its place.
	Detail string `json:"detail,omitempty"`
	// Hint says what to do about it.
	Hint string `json:"hint,omitempty"`
	// Fault says who has to do something, for kinds of the farm.
	Fault Fault `json:"fault,omitempty"`
	// Errors are all that is wrong with a document.
	Errors []Finding `json:"errors,omitempty"`
	// Job is the job that the problem is about.
	Job *Job `json:"job,omitempty"`

	after time.Duration
}

// Finding is one thing that is wrong with a document.
type Finding struct {
	Code string `json:"code"`
	// Pointer is the JSON pointer of the field, "" for the document.
	Pointer string `json:"pointer"`
	Message string `json:"message"`
}

// Kind is the stable word for the problem, such as job_not_found; "" when something else than
// the farm answered.
func (p *Problem) Kind() string {
	kind, ok := strings.CutPrefix(p.Type, "/problems/")
	if !ok {
		return ""
	}
	return kind
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%s (status %d)", p.Title, p.Status)
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	for _, f := range p.Errors {
		if !strings.Contains(text, f.Message) {
			text += "; " + f.Pointer + ": " + f.Message
		}
	}
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text
}

// mostProblem bounds how much of a problem is read, and mostPage how much of another page is
// told, in bytes. A problem may have a job in it.
const (
	mostProblem = 8 << 20
	mostPage    = 200
)

// problemIn is the problem in an answer. One that is no problem document becomes one.
func problemIn(resp *http.Response) *Problem {
	p := &Problem{}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, mostProblem))
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "application/problem+json" || json.Unmarshal(raw, p) != nil {
		p = &Problem{Type: "about:blank", Title: http.StatusText(resp.StatusCode), Detail: strings.ToValidUTF8(string(raw[:min(len(raw), mostPage)]), "")}
		if to := resp.Header.Get("Location"); to != "" {
			p.Detail, p.Hint = "the server redirects to "+to, "use that address"
		}
	}
	p.Status = resp.StatusCode
	p.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return p
}

// retryAfter reads Retry-After: seconds, or a time.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 24*60*60)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
