package pages

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// failureGroup are jobs that failed alike.
type failureGroup struct {
	Kind    jobs.Kind
	Message string
	Fault   string
	// Newest is when the newest of them was made; Rows are the newest first.
	Newest time.Time
	Rows   []jobRow
	// List is the list of the jobs of this kind.
	List string
}

const (
	// mostFailures is how many failures are looked at for groups.
	mostFailures = 500
	// mostLooks is how often the API is asked for them: a page may have few.
	mostLooks = 10
)

// failures shows the failures that the filter selects, by kind and first line.
func (p *Pages) failures(v *visit, page jobsPage) error {
	page.Other = "/jobs?" + page.Filter.with("page_token", "").with("view", "").encode()
	f := page.Filter.with("limit", "200")
	if len(f.values["state"]) == 0 {
		for _, s := range unsuccessful() {
			f.values.Add("state", string(s))
		}
	}
	groups := map[string]*failureGroup{}
	for looks := 0; ; looks++ {
		var found listing
		if err := v.ask(get("/v1/jobs", f.question()), &found); err != nil {
			return err
		}
		for _, j := range found.Jobs {
			if j.Result != nil && j.Result.Failure != nil && page.Looked < mostFailures {
				page.Looked++
				page.add(groups, j)
			}
		}
		if found.Next == "" {
			break
		}
		if page.Looked >= mostFailures || looks+1 == mostLooks {
			page.More = true
			break
		}
		f = f.with("page_token", found.Next)
	}
	for _, g := range groups {
		page.Groups = append(page.Groups, *g)
	}
	slices.SortFunc(page.Groups, func(a, b failureGroup) int {
		return cmp.Or(cmp.Compare(len(b.Rows), len(a.Rows)), b.Newest.Compare(a.Newest), cmp.Compare(a.Message, b.Message))
	})
	return p.render(v, http.StatusOK, "failures", "Failures", page)
}

func (page *jobsPage) add(groups map[string]*failureGroup, j jobs.Job) {
	fail := j.Result.Failure
	first, _, _ := strings.Cut(fail.Message, "\n")
	first = jobs.Line(first, 300)
	key := string(fail.Kind) + "\x00" + first
	g := groups[key]
	if g == nil {
		g = &failureGroup{
			Kind: fail.Kind, Message: first, Fault: faultWords(fail.Kind), Newest: j.Created,
			List: "/jobs?" + page.Filter.with("view", "").with("kind", string(fail.Kind)).encode(),
		}
		groups[key] = g
	}
	g.Rows = append(g.Rows, rowOf(j, "", page.Now))
}
