package worker

import (
	"maps"
	"strconv"
	"strings"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// offer is what this host has that jobs may need, as far as its engine has told. Of labels
// the operator's count where the host has a word of its own.
func offer(o Options, e engine.Info) jobs.Offer {
	labels := builtInLabels(o.Name, e)
	maps.Copy(labels, o.OnlyLabels)
	maps.Copy(labels, o.Labels)
	return jobs.Offer{
		Host: o.HostID, Platform: o.Platform, Labels: labels, Only: o.OnlyLabels, CPUs: e.CPUs, Memory: jobs.Bytes(e.Memory),
	}
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
	switch {
	case !w.offer.Meets(n):
		return jobs.FitsNever
	case w.offer.Crowded(w.used(), n) != "":
		return jobs.FitsLater
	}
	return jobs.FitsNow
}

// used is what the jobs that run here and the services that are kept here may use. What
// their documents limit counts, and of builds that limit nothing the operator's figure.
// w.mu is held.
func (w *Worker) used() (used jobs.Needs) {
	for _, a := range w.running {
		used = used.And(w.usedBy(a.job.Spec))
	}
	for id, s := range w.services {
		if w.running[id] == nil && s.whenRecorded().IsZero() {
			used = used.And(s.needs())
		}
	}
	return used
}

// usedBy is what a job that runs here may use.
func (w *Worker) usedBy(s jobs.Spec) jobs.Needs {
	n := s.Needs()
	if s.Build != nil {
		figure := w.buildLimits(*s.Build)
		n.CPUs, n.Memory = max(n.CPUs, figure.CPUs), max(n.Memory, figure.Memory)
	}
	return n
}

// needs is what the service may use of the host; its build is over.
func (s *keptService) needs() jobs.Needs { return jobs.Spec{Run: s.job.Spec.Run}.Needs() }

// roomFor tells the intake that what had these needs has ended, so that others may fit.
func (w *Worker) roomFor(n jobs.Needs) {
	if n.CPUs > 0 || n.Memory > 0 {
		go w.Intake.Recheck()
	}
}
