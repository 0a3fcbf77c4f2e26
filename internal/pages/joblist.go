package pages

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// listing is what the API answers to GET /v1/jobs.
type listing struct {
	Jobs []jobs.Job `json:"jobs"`
	Next string     `json:"next_page_token"`
}

// jobRow is a job in a list.
type jobRow struct {
	jobs.Job
	What, Called, Took, Where, Why string
	// Fault says whose fault it is, in words.
	Fault string
}

// jobsPage is the list of jobs.
type jobsPage struct {
	Filter    filter
	Rows      []jobRow
	Groups    []failureGroup
	MaySubmit bool
	// Self is this list again, Next the older jobs, First the newest ones, Other the
	// other view of the same.
	Self, Next, First, Other string
	// Looked is how many failures were looked at for groups, More that there are others.
	Looked int
	More   bool
	Now    time.Time
	// Address is that of the server, for commands to copy.
	Address string
}

// jobs answers GET /jobs.
func (p *Pages) jobs(v *visit) error {
	f := readFilter(v.URL.Query())
	page := jobsPage{Filter: f, MaySubmit: v.maySubmit(), Now: time.Now(), Address: address(v.Request)}
	page.First = "/jobs?" + f.with("page_token", "").encode()
	page.Self = "/jobs?" + f.encode()
	if f.View == failuresView {
		return p.failures(v, page)
	}
	page.Other = "/jobs?" + f.with("page_token", "").with("view", failuresView).encode()
	var found listing
	if err := v.ask(get("/v1/jobs", f.question()), &found); err != nil {
		return err
	}
	if found.Next != "" {
		page.Next = "/jobs?" + f.with("page_token", found.Next).encode()
	}
	why := p.whyWaiting(v, found.Jobs)
	for _, j := range found.Jobs {
		page.Rows = append(page.Rows, rowOf(j, why[j.ID], page.Now))
	}
	if v.wants("list") {
		return p.part(v, "joblist", page)
	}
	return p.render(v, http.StatusOK, "jobs", "Jobs", page)
}

func rowOf(j jobs.Job, why string, now time.Time) jobRow {
	row := jobRow{Job: j, What: what(j), Called: called(j), Took: took(j, now), Where: j.Worker, Why: why}
	if r := j.Result; r != nil {
		row.Where = r.Worker
		if r.Failure != nil {
			row.Why, row.Fault = failureLine(j), faultWords(r.Failure.Kind)
		}
	}
	return row
}

// whyWaiting tells why each of the jobs waits that does. The list is of use without it.
func (p *Pages) whyWaiting(v *visit, list []jobs.Job) map[string]string {
	waits := func(j jobs.Job) bool { return j.State.Waits() }
	if p.Jobs == nil || !slices.ContainsFunc(list, waits) {
		return nil
	}
	sit, err := p.Jobs.Situation(v.Context(), p.Hosts, list...)
	if err != nil {
		p.Log.WarnContext(v.Context(), "asking why jobs wait failed", "err", err)
		return nil
	}
	why := map[string]string{}
	for _, j := range list {
		if waits(j) {
			sit.Job = j
			why[j.ID] = sit.Explain().Text
		}
	}
	return why
}

// address is how the browser reaches the server.
func address(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host}
	if secure(r) {
		u.Scheme = "https"
	}
	return u.String()
}
