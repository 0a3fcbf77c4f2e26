package worker

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// quietLooks is how many looks the heartbeat lets pass when there is nothing new to
// tell: a farm that has nothing to do should leave its Redis alone.
const quietLooks = 12

// leaveTime bounds the goodbye of a worker that ends: the registry can do without.
const leaveTime = 2 * time.Second

// heartbeat keeps what the farm's registry says of this host, until ctx ends; then
// the host leaves. It looks as often as leases are renewed, and speaks when
// something has changed or when it was quiet for long enough. Nothing waits for it
// and nothing depends on it.
type heartbeat struct {
	w     *Worker
	began time.Time
	// started is when began was, on Redis time; zero until it is known.
	started time.Time
	told    jobs.Host // what was said last
	spoke   time.Time // and when; zero when it has to be said (again)
	// mute is set while beats fail, so that only the first one is logged.
	mute bool
}

// beatWhile tells the registry of this host until ctx ends.
func (w *Worker) beatWhile(ctx context.Context) {
	if w.Hosts == nil {
		return
	}
	b := heartbeat{w: w, began: time.Now()}
	for {
		b.look(ctx)
		if !w.untilBeat(ctx) {
			break
		}
	}
	if w.isAnothers() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if err := w.Hosts.Leave(ctx, w.opts.Host); err != nil {
		w.log.WarnContext(ctx, "leave the registry of hosts", "err", err)
	}
}

// untilBeat waits for the next look. The farm hears at once that a host is unfit, or is
// fit again. false means that ctx ended first.
func (w *Worker) untilBeat(ctx context.Context) bool {
	t := time.NewTimer(w.opts.Renew)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.beatNow:
	case <-t.C:
	}
	return true
}

// look speaks if there is a reason to.
func (b *heartbeat) look(ctx context.Context) {
	h := b.w.describe()
	if !b.spoke.IsZero() && time.Since(b.spoke) < h.Every.D() && reflect.DeepEqual(h, b.told) {
		return
	}
	spoke := time.Now()
	err := b.say(ctx, h)
	switch {
	case ctx.Err() != nil: // it ends
	case err != nil:
		b.spoke = time.Time{}
		if !b.mute {
			b.w.log.WarnContext(ctx, "the registry of hosts is not told of this one", "err", err)
		}
		b.mute = true
	default:
		if b.mute {
			b.w.log.InfoContext(ctx, "the registry of hosts is told of this one again")
		}
		b.told, b.spoke, b.mute = h, spoke, false
	}
}

func (b *heartbeat) say(ctx context.Context, h jobs.Host) error {
	ctx, cancel := context.WithTimeout(ctx, max(b.w.opts.Renew, leaveTime))
	defer cancel()
	if b.started.IsZero() {
		now, err := b.w.Claims.Now(ctx)
		if err != nil {
			return fmt.Errorf("ask Redis for the time: %w", err)
		}
		b.started = now.Add(-time.Since(b.began))
	}
	h.Started = b.started
	return b.w.Hosts.Beat(ctx, h)
}

// describe is what there is to say of this host now.
func (w *Worker) describe() jobs.Host {
	unfit := w.Unfit()
	w.mu.Lock()
	defer w.mu.Unlock()
	h := jobs.Host{
		Name: w.opts.Host, Worker: w.opts.Name, Version: w.opts.Version, Platform: w.opts.Platform,
		CPUs: w.engine.CPUs, Memory: jobs.Bytes(w.engine.Memory),
		Slots: w.opts.Slots, Running: len(w.running), Queues: w.opts.Queues, Labels: w.opts.Labels,
		State: jobs.HostReady, Every: jobs.Duration(quietLooks * w.opts.Renew),
	}
	if w.engine.Name != "" { // else it has not answered yet
		h.Engine = w.engine.String()
	}
	switch {
	case w.draining:
		h.State = jobs.HostDraining
	case unfit != nil:
		h.State, h.Reason = jobs.HostUnfit, unfit.Error()
	}
	return h
}
