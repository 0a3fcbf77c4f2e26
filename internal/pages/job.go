package pages

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// jobPage is all about one job.
type jobPage struct {
	Row jobRow
	Job jobs.Job
	// Sentence says how the job is and why, Fault whose fault that is, Hint what to do.
	Sentence, Cause, Fault, Hint string
	Why                          *jobs.Why
	Actions                      []action
	Bars                         []bar
	Attempts                     []attemptRow
	Facts, Inputs                []fact
	Bases                        []baseRow
	Outputs                      []jobs.Output
	Commands                     []fact
	Events                       []jobs.Event
	Log                          *logPage
	// Living is true while the page changes by itself; Self is where it does so.
	Living bool
	Self   string
}

// fact is something known, with its name.
type fact struct {
	Name, Value string
	// Copy is true for what readers put elsewhere.
	Copy bool
}

// attemptRow is an attempt, of which there may have been several.
type attemptRow struct {
	N             int
	Where, Became string
	Fault         string
	Took          string
	Log           string
}

// baseRow is an image that the build used, and what became of its name since.
type baseRow struct {
	jobs.BaseImage
	Moved bool
	Since time.Time
}

// job answers GET /jobs/{id}.
func (p *Pages) job(v *visit) error {
	job, err := v.jobCalled(v.PathValue("id"))
	if err != nil {
		return err
	}
	page := &jobPage{Job: job, Row: rowOf(job, "", now()), Living: !job.State.Terminal() || job.Up()}
	page.Self = "/jobs/" + job.ID + "?part=top"
	if v.maySubmit() {
		page.Actions = possible(job)
	}
	if err := p.complete(v, page); err != nil {
		return err
	}
	top := v.wants("top")
	if failed := job.Result != nil && job.Result.Failure != nil; !top || failed {
		if page.Log, err = p.log(v, job, readLogAsk(job.ID, v.URL.Query())); err != nil {
			return err
		}
	}
	if top {
		return p.part(v, "jobparts", page)
	}
	return p.render(v, http.StatusOK, "job", called(job)+" "+string(job.State), page)
}

// complete asks for what is not in the record.
func (p *Pages) complete(v *visit, page *jobPage) error {
	job, path := page.Job, "/v1/jobs/"+page.Job.ID
	if job.State.Waits() {
		page.Why = &jobs.Why{}
		if err := v.ask(get(path+"/why", nil), page.Why); err != nil {
			return err
		}
	}
	var events struct {
		Events []jobs.Event `json:"events"`
	}
	if err := v.ask(get(path+"/events", nil), &events); err != nil {
		return err
	}
	page.Events = events.Events
	var steps buildSteps
	if job.Spec.Build != nil && !job.Claimed.IsZero() {
		// A log that is gone takes the steps with it, and nothing else.
		if err := v.ask(get(path+"/steps", nil), &steps); err != nil && !isStatus(err, http.StatusGone) {
			return err
		}
	}
	page.Bars = waterfall(job, page.Events, steps.Build, now())
	if r := job.Result; r != nil {
		page.Outputs = r.Outputs
		if err := page.addBases(v, r.Bases); err != nil {
			return err
		}
	}
	page.say()
	page.addAttempts()
	page.addFacts()
	page.addCommands(address(v.Request))
	return nil
}

// addBases tells of each base whether its name stands for another image now.
func (page *jobPage) addBases(v *visit, bases []jobs.BaseImage) error {
	if len(bases) == 0 {
		return nil
	}
	var known struct {
		Bases []jobs.Base `json:"bases"`
	}
	if v.seesFarm() {
		if err := v.ask(get("/v1/bases", nil), &known); err != nil {
			return err
		}
	}
	for _, b := range bases {
		row := baseRow{BaseImage: b}
		i := slices.IndexFunc(known.Bases, func(k jobs.Base) bool { return k.Ref == b.Ref })
		if i >= 0 && known.Bases[i].Replaces(b) {
			row.Moved, row.Since = true, known.Bases[i].Since
		}
		page.Bases = append(page.Bases, row)
	}
	return nil
}

// say puts into a sentence how the job is, and why.
func (page *jobPage) say() {
	j := page.Job
	switch {
	case page.Why != nil && page.Why.Text != "":
		page.Sentence = "It waits: " + page.Why.Text + "."
	case j.State == jobs.Running:
		page.Sentence = fmt.Sprintf("It runs on %s", cmp.Or(j.Worker, j.Host))
		if j.Stage != "" {
			page.Sentence += ", in the stage " + string(j.Stage)
		}
		if j.Attempt > 1 {
			page.Sentence += fmt.Sprintf(", attempt %d", j.Attempt)
		}
		page.Sentence += "."
	case j.Result != nil && j.Result.Failure != nil:
		f := j.Result.Failure
		where := ""
		if f.Stage != "" {
			where = " in the stage " + string(f.Stage)
		}
		page.Sentence = fmt.Sprintf("It %s%s: %s.", ended(j.State), where, strings.TrimRight(f.Message, "."))
		page.Cause, page.Hint = f.Cause, f.Hint
		page.Fault = faultWords(f.Kind)
	case j.State.Terminal():
		page.Sentence = fmt.Sprintf("It %s in %s.", ended(j.State), page.Row.Took)
	default:
		page.Sentence = "It is " + string(j.State) + "."
	}
	if j.CancelBy != "" {
		page.Sentence += " " + j.CancelBy + " asked for its end."
	}
	if r := j.Result; r != nil && r.Service != nil {
		page.Sentence += " Its service is " + r.Service.String() + "."
	}
}

// ended is a state as a verb.
func ended(s jobs.State) string {
	switch s {
	case jobs.Cancelled, jobs.Refused:
		return "was " + string(s)
	}
	return string(s)
}

func (page *jobPage) addAttempts() {
	j := page.Job
	for _, past := range j.Past {
		row := attemptRow{N: past.Attempt, Where: cmp.Or(past.Worker, past.Host), Became: past.Reason, Took: short(past.Ended.Sub(past.Started))}
		if past.Failure != nil {
			row.Became, row.Fault = past.Failure.Message+" ("+string(past.Failure.Kind)+")", faultWords(past.Failure.Kind)
		} else {
			row.Fault = "handed back, not your fault"
		}
		if past.Log.Digest != "" {
			row.Log = logAsk{Job: j.ID, Attempt: past.Attempt}.link("log")
		}
		page.Attempts = append(page.Attempts, row)
	}
	if len(page.Attempts) == 0 {
		return
	}
	last := attemptRow{N: j.Attempt, Where: cmp.Or(j.Worker, j.Host), Became: string(j.State), Log: logAsk{Job: j.ID}.link("log")}
	if r := j.Result; r != nil {
		last.Where = cmp.Or(r.Worker, r.Host)
		if r.Failure != nil {
			last.Became, last.Fault = failureLine(j), faultWords(r.Failure.Kind)
		}
	}
	if !j.Claimed.IsZero() && !j.Finished.IsZero() {
		last.Took = short(j.Finished.Sub(j.Claimed))
	}
	page.Attempts = append(page.Attempts, last)
}

// addFacts lists what is known of the job, and what went into it.
func (page *jobPage) addFacts() {
	j := page.Job
	add := func(to *[]fact, name, value string, copied bool) {
		if value != "" {
			*to = append(*to, fact{name, value, copied})
		}
	}
	f, in := &page.Facts, &page.Inputs
	add(f, "ID", j.ID, true)
	if r := j.Result; r != nil {
		for _, d := range r.RepoDigests {
			add(f, "Image", d, true)
		}
		if len(r.RepoDigests) == 0 {
			add(f, "Image", r.ImageID, true)
		}
		add(f, "Tags", strings.Join(r.Tags, ", "), false)
		add(f, "Container", r.ContainerID, true)
		if r.ExitCode != nil {
			add(f, "Exit code", fmt.Sprint(*r.ExitCode), false)
		}
		if r.OOM {
			add(f, "Memory", "the kernel killed a process for memory", false)
		}
		for _, a := range r.Addresses {
			add(f, "Address", a, true)
		}
		if !r.KeepUntil.IsZero() {
			add(f, "Kept until", r.KeepUntil.UTC().Format("2006-01-02 15:04 UTC"), false)
		}
		if r.BuiltBy != nil {
			add(f, "Built by", "job "+r.BuiltBy.Job+", which had built the same", false)
		}
		if r.Log.Clipped {
			add(f, "Log", "the Docker daemon left out output of a step", false)
		}
		if r.Log.Dropped > 0 {
			add(f, "Log", size(r.Log.Dropped)+" cut out by the farm's cap", false)
		}
		add(f, "Engine", r.Engine, false)
	}
	add(f, "Worker", cmp.Or(page.Row.Where, j.Worker), false)
	add(f, "Submitted by", j.Submitter, false)
	add(f, "Tenant", j.Spec.Tenant, false)
	add(f, "Trace", j.Traceparent.Trace(), true)
	add(f, "Queue", j.Spec.Queue+", priority "+string(j.Spec.Priority), false)
	for _, k := range slices.Sorted(maps.Keys(j.Spec.Labels)) {
		add(f, "Label", k+"="+j.Spec.Labels[k], false)
	}
	if c := j.Spec.Context; c != nil {
		add(in, "Context", c.Ref, true)
		add(in, "Digest", c.Digest, true)
		if c.Size > 0 {
			add(in, "Size", size(c.Size), false)
		}
	}
	if b := j.Spec.Build; b != nil {
		add(in, "Dockerfile", b.Dockerfile, false)
		add(in, "Target", b.Target, false)
		add(in, "Platform", b.Platform, false)
		for _, k := range slices.Sorted(maps.Keys(b.Args)) {
			add(in, "Build argument", k+"="+b.Args[k], false)
		}
		for _, k := range slices.Sorted(maps.Keys(b.Contexts)) {
			add(in, "Context by name", k+"="+b.Contexts[k], false)
		}
	}
	if run := j.Spec.Run; run != nil {
		add(in, "Run image", run.Image, false)
		add(in, "Command", strings.Join(run.Command, " "), true)
	}
}

// addCommands are what to type to see or do the same elsewhere.
func (page *jobPage) addCommands(server string) {
	j := page.Job
	curl := `curl -X POST -H "Authorization: Bearer $T" ` + server + "/v1/jobs/" + j.ID
	if j.State.Terminal() {
		page.Commands = append(page.Commands,
			fact{"Do the same again", curl + "/retry", true}, fact{"Again, on new bases", curl + "/rerun", true},
			fact{"Again, with enqueue", "enqueue retry " + j.ID, true})
	} else {
		page.Commands = append(page.Commands,
			fact{"Wait for its end", "enqueue wait " + j.ID, true}, fact{"Cancel", "enqueue cancel " + j.ID, true})
	}
	page.Commands = append(page.Commands, fact{"Its log", "enqueue logs " + j.ID, true})
	if len(page.Outputs) > 0 {
		page.Commands = append(page.Commands, fact{"Its outputs", "enqueue outputs " + j.ID, true})
	}
	page.Commands = append(page.Commands,
		fact{"Its document", `curl -H "Authorization: Bearer $T" ` + server + "/v1/jobs/" + j.ID, true})
}
