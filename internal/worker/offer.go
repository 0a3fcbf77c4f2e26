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
	case o.Crowded(w.used(), n) != "":
		return jobs.FitsLater
	}
	return jobs.FitsNow
}

// used is what the jobs that run here may use; only what their documents limit counts.
// w.mu is held.
func (w *Worker) used() (used jobs.Needs) {
	for _, a := range w.running {
		used = used.And(a.job.Spec.Needs())
	}
	return used
}
