package jobs

import (
	"maps"
	"math"
	"slices"
)

// Unlimited stands for no bound, where the kernel has such a thing.
const Unlimited = -1

// MinDisk is the smallest limit of what a container may write: engines put a few
// files of their own into its layer.
const MinDisk Bytes = 1 << 20

// MinMemory is the engine's own minimum.
const MinMemory Bytes = 6 << 20

// Limits bound a container. Zero means the operator's default.
type Limits struct {
	// CPUs is a number of cores, fractions allowed.
	CPUs   float64 `json:"cpus,omitempty"`
	Memory Bytes   `json:"memory,omitempty"`
	// Pids is how many processes there may be, -1 for any number.
	Pids int64 `json:"pids,omitempty"`
	Shm  Bytes `json:"shm,omitempty"`
	// Disk is how much the container may write to the host's disk: to its own
	// layer and to volumes that its image declares.
	Disk Bytes `json:"disk,omitempty"`
	// Ulimits maps a name (nofile, nproc, core, fsize ...) to its bound.
	Ulimits map[string]Ulimit `json:"ulimits,omitempty"`
}

// Ulimit is a soft and a hard bound, -1 for none.
type Ulimit struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// maxPids is the kernel's own bound.
const maxPids = 1 << 22

// UlimitNames lists the ulimits that an engine knows.
func UlimitNames() []string {
	return []string{
		"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
	}
}

// Above reports whether a limit is above another one. [Unlimited] is above all others.
func Above(limit, other int64) bool {
	return other != Unlimited && (limit == Unlimited || limit > other)
}

func (p *problems) limits(l Limits) {
	if l.CPUs != 0 && (l.CPUs < 0.01 || l.CPUs > 1024) || math.IsNaN(l.CPUs) {
		p.add("limit_invalid", "/run/limits/cpus", "found %g; the limit is 0.01 to 1024", l.CPUs)
	}
	if l.Memory != 0 && l.Memory < MinMemory {
		p.add("limit_below_minimum", "/run/limits/memory", "found %s; the minimum is %s", l.Memory, MinMemory)
	}
	if l.Pids != Unlimited && (l.Pids < 0 || l.Pids > maxPids) {
		p.add("limit_invalid", "/run/limits/pids", "found %d; want 1 to %d, or -1 for no limit", l.Pids, maxPids)
	}
	if l.Shm < 0 {
		p.add("limit_invalid", "/run/limits/shm", "found %s; want more than 0", l.Shm)
	}
	if l.Disk != 0 && l.Disk < MinDisk {
		p.add("limit_below_minimum", "/run/limits/disk", "found %s; the minimum is %s", l.Disk, MinDisk)
	}
	for _, k := range slices.Sorted(maps.Keys(l.Ulimits)) {
		p.ulimit("/run/limits/ulimits/"+escape(k), k, l.Ulimits[k])
	}
}

func (p *problems) ulimit(at, name string, u Ulimit) {
	switch {
	case !slices.Contains(UlimitNames(), name):
		hint := ""
		if near := Nearest(name, UlimitNames()); near != "" {
			hint = " (did you mean " + near + "?)"
		}
		p.add("ulimit_unknown", at, "unknown ulimit %q: want %s%s", Clip(name), Either(UlimitNames()), hint)
	case u.Soft < Unlimited || u.Hard < Unlimited:
		p.add("ulimit_invalid", at, "found soft %d and hard %d; want 0 or more, or -1 for no limit", u.Soft, u.Hard)
	case Above(u.Soft, u.Hard):
		p.add("ulimit_invalid", at, "found soft %d and hard %d; the soft limit must not be above the hard one (-1: no limit)", u.Soft, u.Hard)
	case name == "nofile" && u.Hard == Unlimited:
		// The kernel refuses what is above its fs.nr_open, also to root.
		p.add("ulimit_invalid", at, "the kernel has no unlimited number of open files; give a number, such as 1048576")
	}
}
