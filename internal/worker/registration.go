package worker

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// quietLooks is how many looks the registration lets pass when there is nothing new to
// tell: a farm that has nothing to do should leave its Redis alone.
const quietLooks = 12

// leaveTime bounds the goodbye of a worker that ends: the registry can do without.
const leaveTime = 2 * time.Second

// registration keeps what the farm's registry says of this host, until ctx ends; then
// the host leaves. It looks as often as leases are renewed, and speaks when
// something has changed or when it was quiet for long enough. Nothing waits for it
// and nothing depends on it.
type registration struct {
	w     *Worker
	began time.Time
	// started is when began was, on Redis time; zero until it is known.
	started time.Time
	told    jobs.Host // what was said last
	spoke   time.Time // and when; zero when it has to be said (again)
	// mute is set while beats fail, so that only the first one is logged.
	mute bool
}

// register tells the registry of this host until ctx ends.
func (w *Worker) register(ctx context.Context) {
	if w.Hosts == nil {
		return
	}
	r := registration{w: w, began: time.Now()}
	for {
		r.look(ctx)
		if !w.untilNextLook(ctx) {
			break
		}
	}
	if w.isAnothers() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if err := w.Hosts.Leave(ctx, w.opts.HostID); err != nil {
		w.log.WarnContext(ctx, "host deregistration failed; the entry expires", "err", err)
	}
}

// untilNextLook waits for the next look. The farm hears at once that a host is unfit, or is
// fit again. false means that ctx ended first.
func (w *Worker) untilNextLook(ctx context.Context) bool {
	t := time.NewTimer(w.opts.Renew)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.registerNow:
	case <-t.C:
	}
	return true
}

// look speaks if there is a reason to.
func (r *registration) look(ctx context.Context) {
	h := r.w.describe()
	if h.Disks = r.w.Host.FreeDisk(); !r.spoke.IsZero() && time.Since(r.spoke) < h.Every.D() && !r.news(h) {
		return
	}
	spoke := time.Now()
	err := r.say(ctx, h)
	switch {
	case ctx.Err() != nil: // it ends
	case err != nil:
		r.spoke = time.Time{}
		if !r.mute {
			r.w.log.WarnContext(ctx, "host registration failed; tried again", "err", err)
		}
		r.mute = true
	default:
		if r.mute {
			r.w.log.InfoContext(ctx, "host registered again")
		}
		r.told, r.spoke, r.mute = h, spoke, false
	}
}

// news reports whether a host has anything new to tell. What is free of a disk changes all the time
// while jobs run: only a twentieth of the disk is worth more than the beats there are anyway.
func (r *registration) news(h jobs.Host) bool {
	if slices.EqualFunc(h.Disks, r.told.Disks, func(a, b jobs.HostDisk) bool {
		moved := max(a.Free-b.Free, b.Free-a.Free)
		a.Free = b.Free
		return a == b && moved <= a.Size/20
	}) {
		h.Disks = r.told.Disks
	}
	return !reflect.DeepEqual(h, r.told)
}

func (r *registration) say(ctx context.Context, h jobs.Host) error {
	ctx, cancel := context.WithTimeout(ctx, max(r.w.opts.Renew, leaveTime))
	defer cancel()
	if r.started.IsZero() {
		now, err := r.w.Claims.Now(ctx)
		if err != nil {
			return fmt.Errorf("ask Redis for the time: %w", err)
		}
		r.started = now.Add(-time.Since(r.began))
	}
	h.Started = r.started
	return r.w.Hosts.Beat(ctx, h)
}

// describe is what there is to say of this host now.
func (w *Worker) describe() jobs.Host {
	unfit, order := w.Unfit(), w.order.get()
	w.mu.Lock()
	defer w.mu.Unlock()
	h := jobs.Host{
		Name: w.opts.HostID, Worker: w.opts.Name, Version: w.opts.Version, Platform: w.opts.Platform,
		CPUs: w.engine.CPUs, Memory: jobs.Bytes(w.engine.Memory),
		Slots: w.opts.Slots, Running: len(w.running), Queues: w.opts.Queues, Labels: w.offer.Labels, OnlyLabels: w.opts.OnlyLabels,
		Services: len(w.services), Every: jobs.Duration(quietLooks * w.opts.Renew),
		AffinityWait: jobs.Duration(w.opts.AffinityWait),
	}
	if w.engine.Name != "" { // else it has not answered yet
		h.Engine = w.engine.String()
	}
	used := w.used()
	h.UsedCPUs, h.UsedMemory = used.CPUs, used.Memory
	h.Jobs = slices.Sorted(maps.Keys(w.running))
	h.Jobs = h.Jobs[:min(len(h.Jobs), jobs.HostJobs)]
	if unfit != nil {
		h.Reason = unfit.Error()
	}
	if !order.Takes() {
		h.Order = &order
	}
	h.State = jobs.HostStateOf(w.drain.begun, unfit != nil, order, h.Running)
	return h
}
