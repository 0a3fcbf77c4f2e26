package jobs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Needs is what a job needs of the build host that runs it. Zero fields need nothing.
type Needs struct {
	Platform string            `json:"platform,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	// CPUs and Memory are the most that a step of the build or the run may use, where the
	// job itself sets a limit.
	CPUs   float64 `json:"cpus,omitempty"`
	Memory Bytes   `json:"memory,omitempty"`
}

// Route is needs in a form in which they can be compared: JSON with its keys in order, ""
// for no needs. Tickets with the same route go to the same hosts.
type Route string

// Needs is what the job needs of a build host. What the operator's defaults add is a
// matter of each host.
func (s Spec) Needs() Needs {
	var n Needs
	if r := s.Requires; r != nil {
		n.Platform, n.Labels = r.Platform, r.Labels
	}
	if b := s.Build; b != nil {
		n.CPUs, n.Memory = max(n.CPUs, b.Limits.CPUs), max(n.Memory, b.Limits.Memory)
	}
	if r := s.Run; r != nil {
		n.CPUs, n.Memory = max(n.CPUs, r.Limits.CPUs), max(n.Memory, r.Limits.Memory)
	}
	return n
}

// Turn is the name under which the job takes turns with those of others: its tenant's,
// else its own.
func (s Spec) Turn() string { return cmp.Or(s.Tenant, s.Name) }

// recipe is what the job builds, where a host that has built it before is of use: "" when
// it has no name, uses no cache, or is for one host.
func (s Spec) recipe() string {
	if s.Build == nil || s.Build.NoCache || s.Requires != nil && s.Requires.Labels[HostLabel] != "" {
		return ""
	}
	return s.Name
}

// Route is the needs as a route.
func (n Needs) Route() Route {
	raw, err := json.Marshal(n)
	if err != nil { // every field can be marshalled
		panic(fmt.Sprintf("marshal needs: %v", err))
	}
	if string(raw) == "{}" {
		return ""
	}
	return Route(raw)
}

// String is the route for people, such as "linux/arm64 gpu=yes 4 CPUs 8GiB".
func (r Route) String() string {
	n, err := r.Needs()
	if err != nil {
		return "a route of a newer version"
	}
	var parts []string
	if n.Platform != "" {
		parts = append(parts, n.Platform)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		parts = append(parts, k+"="+n.Labels[k])
	}
	if n.CPUs > 0 {
		parts = append(parts, strconv.FormatFloat(n.CPUs, 'g', -1, 64)+" CPUs")
	}
	if n.Memory > 0 {
		parts = append(parts, n.Memory.String())
	}
	return strings.Join(parts, " ")
}

// Needs reads a route.
func (r Route) Needs() (Needs, error) {
	var n Needs
	if r == "" {
		return n, nil
	}
	if err := json.Unmarshal([]byte(r), &n); err != nil {
		return Needs{}, fmt.Errorf("read route %q: %w", Clip(string(r)), err)
	}
	return n, nil
}

// Offer is what a build host has that jobs may need.
type Offer struct {
	// Host is the identity of the host, which meets the label [HostLabel], too.
	Host     string
	Platform string
	Labels   map[string]string
	// Only are labels that a job has to ask for; the host takes no others.
	Only map[string]string
	// CPUs and Memory are what the engine has; 0 is not known, and meets any size.
	CPUs   int
	Memory Bytes
}

// Fit is whether a job may run on a host now.
type Fit int

// The fits, the worst first.
const (
	FitsNever Fit = iota // the host does not have what it needs
	FitsLater            // not beside what runs there
	FitsNow
)

// Lack is one thing that keeps a job from a host.
type Lack struct {
	Blocker Blocker
	// Text is short and for people.
	Text string
}

// Meets reports whether the host has all that a job needs.
func (o Offer) Meets(n Needs) bool { return len(o.Lacks(n)) == 0 }

// Lacks lists what keeps a job with these needs from the host, nothing when it may run
// there. It alone decides where jobs go; what people are told comes from here, too.
func (o Offer) Lacks(n Needs) []Lack {
	var lacks []Lack
	add := func(b Blocker, format string, args ...any) {
		lacks = append(lacks, Lack{b, fmt.Sprintf(format, args...)})
	}
	if n.Platform != "" && n.Platform != o.Platform {
		add(BlockedByPlatform, "its platform is %s", cmp.Or(o.Platform, "not known"))
	}
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		want, have := n.Labels[k], o.Labels[k]
		switch {
		case have == want && has(o.Labels, k), k == HostLabel && o.Host == want:
		case has(o.Labels, k):
			add(BlockedByLabels, "it has %s=%s, not %s=%s", k, have, k, want)
		default:
			add(BlockedByLabels, "%s=%s missing", k, want)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(o.Only)) {
		if want := o.Only[k]; n.Labels[k] != want || !has(n.Labels, k) {
			add(BlockedByLabels, "it takes only jobs that require %s=%s", k, want)
		}
	}
	if o.CPUs > 0 && n.CPUs > float64(o.CPUs) {
		add(BlockedBySize, "it has %d CPUs, not %s", o.CPUs, strconv.FormatFloat(n.CPUs, 'g', -1, 64))
	}
	if o.Memory > 0 && n.Memory > o.Memory {
		add(BlockedBySize, "it has %s of memory, not %s", o.Memory, n.Memory)
	}
	return lacks
}

// And is what two jobs may use of a host together.
func (n Needs) And(other Needs) Needs {
	return Needs{CPUs: n.CPUs + other.CPUs, Memory: n.Memory + other.Memory}
}

// Crowded tells what running jobs, which may use so much of the host, leave too little of
// for one more; "" when there is room. It alone decides that, as Lacks does what stays.
func (o Offer) Crowded(used, n Needs) string {
	together := used.And(n)
	switch {
	case n.CPUs > 0 && o.CPUs > 0 && together.CPUs > float64(o.CPUs):
		return fmt.Sprintf("%g of %d CPUs are taken by jobs", used.CPUs, o.CPUs)
	case n.Memory > 0 && o.Memory > 0 && together.Memory > o.Memory:
		return fmt.Sprintf("%s of %s of memory are taken by jobs", used.Memory, o.Memory)
	}
	return ""
}

func has(m map[string]string, k string) bool { _, ok := m[k]; return ok }
