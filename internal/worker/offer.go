package worker

import (
	"maps"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// offer is what this host has that jobs may need.
func (w *Worker) offer() jobs.Offer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.offerLocked()
}

// offerLocked is offer for callers that hold w.mu.
func (w *Worker) offerLocked() jobs.Offer {
	return jobs.Offer{
		Host: w.opts.HostID, Platform: w.opts.Platform, Labels: w.hasLabels(), Only: w.opts.OnlyLabels,
		CPUs: w.engine.CPUs, Memory: jobs.Bytes(w.engine.Memory),
	}
}

// hasLabels are those that the operator set, and what any host tells of itself. The
// operator's count where both have a word; w.mu is held.
func (w *Worker) hasLabels() map[string]string {
	all := builtInLabels(w.opts.Name, w.engine)
	maps.Copy(all, w.opts.OnlyLabels)
	maps.Copy(all, w.opts.Labels)
	return all
}

// builtInLabels are labels that every host has, as far as its engine has told.
func builtInLabels(name string, e engine.Info) map[string]string {
	all := map[string]string{}
	put := func(k, v string) {
		if jobs.IsLabel(k, v) {
			all[k] = v
		}
	}
	put(jobs.HostLabel, name)
	if e.Name == "" {
		return all
	}
	put("engine", e.Version)
	put("storage", e.Storage)
	if _, arch, ok := strings.Cut(e.Platform, "/"); ok {
		put("arch", arch)
	}
	if e.CPUs > 0 {
		put("cpus", strconv.Itoa(e.CPUs))
	}
	if e.Memory > 0 {
		put("memory", jobs.Bytes(e.Memory).String())
	}
	return all
}

// fits tells whether this host may take a job with these needs.
func (w *Worker) fits(n jobs.Needs) jobs.Fit {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o := w.offerLocked(); {
	case !o.Meets(n):
		return jobs.FitsNever
	case !w.room(o, n):
		return jobs.FitsLater
	}
	return jobs.FitsNow
}

// room reports whether what jobs that run here may use leaves enough for one more; only
// what the documents of jobs limit counts. w.mu is held.
func (w *Worker) room(o jobs.Offer, n jobs.Needs) bool {
	cpus, memory := n.CPUs, n.Memory
	for _, a := range w.running {
		used := a.job.Spec.Needs()
		if n.CPUs > 0 {
			cpus += used.CPUs
		}
		if n.Memory > 0 {
			memory += used.Memory
		}
	}
	return (o.CPUs == 0 || cpus <= float64(o.CPUs)) && (o.Memory == 0 || memory <= o.Memory)
}
