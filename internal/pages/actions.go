package pages

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// action is something to be done with a job.
type action struct {
	Name string
	// Do is the word on its button, Says what it does, in a sentence.
	Do, Says string
}

func actions() []action {
	return []action{
		{"cancel", "Cancel", "A job that waits ends at once; one that runs is stopped soon."},
		{"retry", "Retry", "Submits the same document again, with the same context, as a job of its own."},
		{"rerun", "Rerun", "Submits the same document again, and asks the registries what the base images are now."},
	}
}

func actionCalled(name string) (action, bool) {
	all := actions()
	i := slices.IndexFunc(all, func(a action) bool { return a.Name == name })
	if i < 0 {
		return action{}, false
	}
	return all[i], true
}

// possible lists the actions that a job allows now.
func possible(j jobs.Job) []action {
	return slices.DeleteFunc(actions(), func(a action) bool {
		if a.Name == "cancel" {
			return j.State.Terminal() && !j.Up()
		}
		return !j.State.Terminal()
	})
}

// confirmPage asks before something is done with a job.
type confirmPage struct {
	Job    jobRow
	Action action
}

// confirm answers GET /jobs/{id}/{action}.
func (p *Pages) confirm(v *visit) error {
	a, ok := actionCalled(v.PathValue("action"))
	if !ok {
		return notFound("there is no page " + jobs.Clip(v.URL.Path))
	}
	job, err := v.jobCalled(v.PathValue("id"))
	if err != nil {
		return err
	}
	if !v.maySubmit() {
		return forbidden("submit")
	}
	return p.render(v, http.StatusOK, "confirm", a.Do+" "+called(job), confirmPage{rowOf(job, "", now()), a})
}

// act answers POST /jobs/{id}/{action}, and goes to the job that it was done with, or to the
// new one.
func (p *Pages) act(v *visit) error {
	a, ok := actionCalled(v.PathValue("action"))
	if !ok {
		return notFound("there is no page " + jobs.Clip(v.URL.Path))
	}
	id := v.PathValue("id")
	if !jobs.IsID(id) {
		return notFound("no job has the ID " + jobs.Clip(id))
	}
	var job jobs.Job
	if err := v.ask(question{method: http.MethodPost, path: "/v1/jobs/" + id + "/" + a.Name}, &job); err != nil {
		return err
	}
	return v.redirect("/jobs/" + job.ID)
}

// jobCalled is a job that exists for the visitor.
func (v *visit) jobCalled(id string) (job jobs.Job, err error) {
	if !jobs.IsID(id) {
		return job, notFound("no job has the ID " + jobs.Clip(id))
	}
	return job, v.ask(get("/v1/jobs/"+id, nil), &job)
}

func forbidden(scope string) error {
	return &api.Problem{
		Type: "/problems/forbidden", Title: "your token may not do this", Status: http.StatusForbidden,
		Detail: "it needs the scope " + scope, Hint: "sign in with another token",
	}
}

// bulkJob is what became of one of many jobs, or would.
type bulkJob struct {
	ID      string       `json:"id"`
	Done    bool         `json:"done"`
	State   jobs.State   `json:"state"`
	Job     string       `json:"job"`
	Problem *api.Problem `json:"problem"`
}

// bulkPage shows what would be done with exactly the jobs that were ticked, or what was.
type bulkPage struct {
	Action action
	// Dry is true when nothing has been done yet.
	Dry  bool
	Jobs []bulkJob
	// Able is with how many it can be done, or was.
	Able int
}

// All and Some count the jobs of the list, and those with which it can be done, in words.
func (b bulkPage) All() string  { return plural(len(b.Jobs), "job", "jobs") }
func (b bulkPage) Some() string { return plural(b.Able, "job", "jobs") }

// bulk answers POST /jobs/bulk: what would be done, and with confirm what was.
func (p *Pages) bulk(v *visit) error {
	a, ok := actionCalled(v.PostFormValue("action"))
	if !ok {
		return badForm("it names no action")
	}
	ids := v.PostForm["id"]
	if len(ids) == 0 {
		return badForm("no job is ticked: tick some, and press the button again")
	}
	page := bulkPage{Action: a, Dry: v.PostFormValue("confirm") == ""}
	var done struct {
		Jobs []bulkJob `json:"jobs"`
	}
	err := v.ask(question{method: http.MethodPost, path: "/v1/jobs/bulk", body: map[string]any{
		"action": a.Name, "ids": ids, "dry_run": page.Dry,
	}}, &done)
	if err != nil {
		return err
	}
	page.Jobs = done.Jobs
	for _, j := range page.Jobs {
		if j.Done {
			page.Able++
		}
	}
	return p.render(v, http.StatusOK, "bulk", a.Do+" "+plural(len(page.Jobs), "job", "jobs"), page)
}

// raw answers GET /jobs/{id}/raw with the log as text.
func (p *Pages) raw(v *visit) error {
	q := url.Values{"format": {"text"}}
	if attempt := v.URL.Query().Get("attempt"); attempt != "" {
		q.Set("attempt", attempt)
	}
	job, err := v.jobCalled(v.PathValue("id"))
	if err != nil {
		return err
	}
	v.ResponseWriter.Header().Set("Content-Disposition", `attachment; filename="`+job.ID+`.log"`)
	return v.hand(get("/v1/jobs/"+job.ID+"/logs", q))
}

// output answers GET /jobs/{id}/outputs/{path...}.
func (p *Pages) output(v *visit) error {
	job, err := v.jobCalled(v.PathValue("id"))
	if err != nil {
		return err
	}
	q := url.Values{}
	if v.URL.Query().Has("tar") {
		q.Set("tar", "true")
	}
	path := url.URL{Path: "/v1/jobs/" + job.ID + "/outputs/" + v.PathValue("path")}
	return v.hand(get(path.EscapedPath(), q))
}
