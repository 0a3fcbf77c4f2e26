package jobs

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query selects the jobs that all of its fields select. Zero fields select everything.
type Query struct {
	States []State
	// IDPrefix selects jobs whose ID begins with it.
	IDPrefix string
	Name     string
	Tenant   string
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

// Made is when the jobs were made that the query may select, by its times and by the prefix: the
// ID of a job of [Service] begins with the moment of its submission. Zero times are no bounds.
func (q Query) Made() (after, before time.Time) {
	after, before = q.CreatedAfter, q.CreatedBefore
	first, last, ok := idTimes(q.IDPrefix)
	if !ok {
		return after, before
	}
	if first = first.Add(-clockSkew); after.Before(first) {
		after = first
	}
	if last = last.Add(clockSkew); before.IsZero() || last.Before(before) {
		before = last
	}
	return after, before
}

// clockSkew is how far the clock of a producer, which makes the ID, may be from Redis' own.
const clockSkew = time.Hour

// idTimes are the first and the last moment that a UUID of version 7 names which begins so.
func idTimes(prefix string) (first, last time.Time, ok bool) {
	const digits = 12 // of the time, in milliseconds
	head := strings.Replace(prefix, "-", "", 1)
	if len(prefix) > 8 && prefix[8] != '-' || len(prefix) <= 8 && head != prefix {
		return first, last, false
	}
	head = head[:min(len(head), digits)]
	low, err1 := strconv.ParseInt(head+strings.Repeat("0", digits-len(head)), 16, 64)
	high, err2 := strconv.ParseInt(head+strings.Repeat("f", digits-len(head)), 16, 64)
	first, last = time.UnixMilli(low), time.UnixMilli(high+1)
	// Another's IDs may be hexadecimal as well, such as those of commits.
	likely := first.Year() >= 2020 && last.Year() < 2100
	return first, last, likely && err1 == nil && err2 == nil
}

// Selects reports whether the job is among those that the query asks for.
func (q Query) Selects(j Job) bool {
	switch {
	case len(q.States) > 0 && !slices.Contains(q.States, j.State),
		!strings.HasPrefix(j.ID, q.IDPrefix),
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
