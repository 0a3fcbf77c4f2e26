package pages

import (
	"net/url"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// failuresView groups failures, in place of a list.
const failuresView = "failures"

// filter is what the address of a list of jobs says. Its words are those of GET /v1/jobs,
// which judges them.
type filter struct {
	View   string
	values url.Values
}

// readFilter drops what is for the page, and what a form sends though it is empty.
func readFilter(q url.Values) filter {
	f := filter{View: q.Get("view"), values: url.Values{}}
	for name, values := range q {
		if name == "part" || name == "view" {
			continue
		}
		for _, value := range values {
			if value != "" {
				f.values.Add(name, instant(name, value))
			}
		}
	}
	return f
}

// instant is a time as the API wants it, from what a field of a form has: UTC, without
// seconds.
func instant(name, value string) string {
	if name != "after" && name != "before" {
		return value
	}
	for _, form := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if at, err := time.Parse(form, value); err == nil {
			return at.UTC().Format(time.RFC3339)
		}
	}
	return value
}

// question are the parameters for the API.
func (f filter) question() url.Values { return f.values }

// with is the filter with another value, "" for none.
func (f filter) with(name, value string) filter {
	if name == "view" {
		f.View = value
		return f
	}
	values := url.Values{}
	for n, v := range f.values {
		values[n] = slices.Clone(v)
	}
	values.Del(name)
	if value != "" {
		values.Set(name, value)
	}
	f.values = values
	return f
}

func (f filter) encode() string {
	values := f.with("", "").values
	if f.View != "" {
		values.Set("view", f.View)
	}
	return values.Encode()
}

// Get is the value of a field of the form.
func (f filter) Get(name string) string { return f.values.Get(name) }

// At is a time for a field of the form.
func (f filter) At(name string) string {
	at, err := time.Parse(time.RFC3339, f.values.Get(name))
	if err != nil {
		return ""
	}
	return at.UTC().Format("2006-01-02T15:04")
}

// Has reports whether a box of the form is ticked.
func (f filter) Has(name, value string) bool { return slices.Contains(f.values[name], value) }

// Any reports whether anything is filtered.
func (f filter) Any() bool {
	for name := range f.values {
		if name != "page_token" && name != "limit" {
			return true
		}
	}
	return false
}

// Rare reports whether a field that is folded away is set.
func (f filter) Rare() bool {
	return slices.ContainsFunc([]string{"kind", "label", "base", "host", "queue", "submitter", "tenant", "after", "before"}, func(name string) bool {
		return f.values.Has(name)
	})
}

// States lists every state, Kinds every kind of failure, for the form.
func (filter) States() []jobs.State { return jobs.States() }

// Kinds lists every kind of failure.
func (filter) Kinds() []jobs.Kind {
	var all []jobs.Kind
	for _, info := range jobs.Kinds() {
		all = append(all, info.Kind)
	}
	return all
}

// unsuccessful are the states of jobs that have failed. Those that were cancelled have not.
func unsuccessful() []jobs.State {
	return slices.DeleteFunc(jobs.States(), func(s jobs.State) bool {
		return !s.Terminal() || s == jobs.Succeeded || s == jobs.Cancelled
	})
}
