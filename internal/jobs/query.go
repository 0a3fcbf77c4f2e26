package jobs

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Query selects the jobs that all of its fields select. Zero fields select everything.
type Query struct {
	States []State
	Name   string
	Tenant string
	// Label is key=value.
	Label string
	// Up selects jobs that keep a service whose end is not recorded.
	Up    bool
	Queue string
	// Host is the identity of the host that runs the job, or on which its result came about.
	Host      string
	Submitter string
	// Kinds select jobs that ended with a failure of one of them, Fault those whose failure
	// is of a kind that is such a fault.
	Kinds []Kind
	Fault Fault
	// Base selects jobs by an image that their build used: its name as in [BaseImage.Ref],
	// or a digest that it had, of the index or of the manifest in it.
	Base string
	// CreatedAfter selects jobs that were made then or later, CreatedBefore those that were
	// made earlier.
	CreatedAfter, CreatedBefore time.Time

	// Limit is at most 200; 0 means 50.
	Limit int
	// Look is how many records are looked at for one page, at most; 0 means 5000. One call
	// costs no more than that, however rare what it selects is. Jobs that another state,
	// name, tenant, label or time keeps out need not be looked at.
	Look int
	// PageToken continues a listing.
	PageToken string
}

// Page is a part of a listing. It has fewer jobs than the limit, and maybe none, where what
// was looked at had no more: only NextPageToken tells whether there may be others.
type Page struct {
	Jobs []Job
	// NextPageToken is "" on the last page.
	NextPageToken string
}

// Bounds are how many jobs a page has at most, and how many records are looked at for it.
func (q Query) Bounds() (limit, look int) {
	limit, look = q.Limit, q.Look
	if limit <= 0 {
		limit = 50
	}
	if look <= 0 {
		look = 5000
	}
	return min(limit, 200), look
}

// Selects reports whether the job is among those that the query asks for.
func (q Query) Selects(j Job) bool {
	switch {
	case len(q.States) > 0 && !slices.Contains(q.States, j.State),
		q.Up && !j.Up(),
		!q.CreatedAfter.IsZero() && j.Created.Before(q.CreatedAfter),
		!q.CreatedBefore.IsZero() && !j.Created.Before(q.CreatedBefore),
		q.Submitter != "" && j.Submitter != q.Submitter:
		return false
	}
	return q.selectsSpec(j.Spec) && q.selectsResult(j)
}

func (q Query) selectsSpec(s Spec) bool {
	if q.Name != "" && s.Name != q.Name || q.Tenant != "" && s.Tenant != q.Tenant || q.Queue != "" && s.Queue != q.Queue {
		return false
	}
	if q.Label == "" {
		return true
	}
	key, want, _ := strings.Cut(q.Label, "=")
	got, ok := s.Labels[key]
	return ok && got == want
}

// selectsResult is about what is in a result, or is there before there is one.
func (q Query) selectsResult(j Job) bool {
	var r Result
	if j.Result != nil {
		r = *j.Result
	}
	if q.Host != "" && cmp.Or(r.Host, j.Host) != q.Host {
		return false
	}
	if len(q.Kinds) > 0 && (r.Failure == nil || !slices.Contains(q.Kinds, r.Failure.Kind)) {
		return false
	}
	if q.Fault != "" && (r.Failure == nil || r.Failure.Kind.Info().Fault != q.Fault) {
		return false
	}
	return q.Base == "" || slices.ContainsFunc(r.Bases, func(b BaseImage) bool {
		return b.Ref == q.Base || b.Digest == q.Base || b.PlatformDigest == q.Base
	})
}
