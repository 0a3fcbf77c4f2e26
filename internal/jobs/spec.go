package jobs

import "strings"

// SpecVersion is the newest job document this build understands. A document
// that names no version has this one.
const SpecVersion = 1

// DefaultQueue is what an absent queue means.
const DefaultQueue = "builds"

// Spec is the job document: what a producer asks for. It is immutable once
// submitted. JSON is snake_case and strict, see [DecodeSpec].
type Spec struct {
	// Version is the version of this document, 0 for the newest.
	Version int `json:"spec_version,omitempty"`
	// Name is the recipe this job belongs to, [a-z0-9._-], at most 64 bytes.
	Name string `json:"name,omitempty"`
	// Tenant is who the job is for, written like a name. Tenants take turns: many jobs of
	// one do not stand before the next one of another.
	Tenant string `json:"tenant,omitempty"`
	// Labels are free key/value pairs a job can be listed by.
	Labels   map[string]string `json:"labels,omitempty"`
	Queue    string            `json:"queue,omitempty"`
	Priority Priority          `json:"priority,omitempty"`
	// Requires says which workers may take the job.
	Requires *Requires `json:"requires,omitempty"`
	// Concurrency bounds how many jobs of a group run at once.
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	// IdempotencyKey makes a submission repeatable: the same key with the same
	// document is the same job. Each tenant has keys of its own.
	IdempotencyKey string   `json:"idempotency_key,omitempty"`
	Context        *Context `json:"context,omitempty"`
	Build          *Build   `json:"build,omitempty"`
	Run            *Run     `json:"run,omitempty"`
	Timeouts       Timeouts `json:"timeouts,omitzero"`
	// Retries is how often a failure that is the job's own may be tried again.
	// Losses of workers, daemons or Redis never count.
	Retries int `json:"retries,omitempty"`
	// Notify are addresses outside the farm that hear of the end of the job.
	Notify []Notify `json:"notify,omitempty"`
	// Cause is set by the farm where it submits a job by itself.
	Cause *Cause `json:"cause,omitempty"`
}

// ReservedKey is what [Records] reserves for the idempotency key, "" when there is none:
// no tenant's key leads to the job of another, nor to one without a tenant.
func (s Spec) ReservedKey() string {
	if s.IdempotencyKey == "" || s.Tenant == "" {
		return s.IdempotencyKey
	}
	// A key is UTF-8, and has no such byte.
	return s.Tenant + "\xff" + s.IdempotencyKey
}

// Called is what people know the job by, on one line of at most [MaxCalled] bytes: its name, a
// tag of what it builds, or what it runs.
func (s Spec) Called() string {
	var words []string
	switch {
	case s.Name != "":
		words = []string{s.Name}
	case s.Build != nil && len(s.Build.Tags) > 0:
		words = s.Build.Tags[:1]
	case s.Run != nil && s.Run.Image != "":
		words = append([]string{s.Run.Image}, s.Run.Command...)
	case s.Run != nil && len(s.Run.Command) > 0:
		words = s.Run.Command
	case s.Build != nil && s.Build.Target != "":
		words = []string{"build of", s.Build.Target}
	case s.Build != nil:
		words = []string{"build"}
	}
	return Line(strings.Join(words, " "), MaxCalled)
}

// MaxCalled bounds what Called returns, in bytes.
const MaxCalled = 120

// Again is the document of another job that does the same; fresh asks the registries what the
// bases are now.
func (s Spec) Again(fresh bool) Spec {
	s.IdempotencyKey, s.Cause = "", nil
	if fresh && s.Build != nil {
		b := *s.Build
		b.Pull = true
		s.Build = &b
	}
	return s
}

// Normalize fills in what an absent field means, so that two documents that
// ask for the same thing are equal.
func (s Spec) Normalize() Spec {
	if s.Version == 0 {
		s.Version = SpecVersion
	}
	if s.Queue == "" {
		s.Queue = DefaultQueue
	}
	if s.Priority == "" {
		s.Priority = PriorityNormal
	}
	if s.Context != nil {
		c := s.Context.normal()
		s.Context = &c
	}
	if s.Build != nil {
		b := s.Build.normal()
		s.Build = &b
	}
	if s.Run != nil {
		r := s.Run.normal()
		s.Run = &r
	}
	return s
}
