package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Filter says which jobs are listed: those that all that is set is true of.
type Filter struct {
	// States are those that a job may be in, Kinds those that it may have failed with.
	States []State
	Kinds  []string
	// Fault is whose fault it was that a job failed.
	Fault Fault
	// IDPrefix is what the IDs begin with.
	IDPrefix                             string
	Name, Tenant, Queue, Host, Submitter string
	// Label is key=value.
	Label string
	// Base is an image that the build used, a name or a digest.
	Base string
	// After and Before bound when a job was created.
	After, Before time.Time
	// Up is for jobs that keep a service that is up.
	Up bool
}

func (f Filter) query() url.Values {
	q := url.Values{"limit": {"200"}}
	for _, s := range f.States {
		q.Add("state", string(s))
	}
	for _, k := range f.Kinds {
		q.Add("kind", k)
	}
	for name, text := range map[string]string{
		"fault": string(f.Fault), "id_prefix": f.IDPrefix, "name": f.Name, "tenant": f.Tenant, "queue": f.Queue, "host": f.Host,
		"submitter": f.Submitter, "label": f.Label, "base": f.Base,
	} {
		if text != "" {
			q.Set(name, text)
		}
	}
	if !f.After.IsZero() {
		q.Set("after", f.After.Format(time.RFC3339))
	}
	if !f.Before.IsZero() {
		q.Set("before", f.Before.Format(time.RFC3339))
	}
	if f.Up {
		q.Set("up", strconv.FormatBool(true))
	}
	return q
}

// Jobs lists jobs, the newest first, and reads page after page as the caller goes on. After an
// error comes nothing more.
func (c *Client) Jobs(ctx context.Context, f Filter) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		query := f.query()
		for {
			var page struct {
				Jobs []Job  `json:"jobs"`
				Next string `json:"next_page_token"`
			}
			if _, err := c.document(ctx, call{method: http.MethodGet, path: "/v1/jobs", query: query, again: true}, &page); err != nil {
				yield(Job{}, err)
				return
			}
			for _, job := range page.Jobs {
				if !yield(job, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("page_token", page.Next)
		}
	}
}
