package simulation

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// monkey does to the farm what its seed says, until ctx ends.
func (f *farm) monkey(ctx context.Context, r *rand.Rand, svc *jobs.Service) {
	// In a wild farm faults meet each other, in a calm one processes live long
	// enough to bear the consequences of one.
	longest := []int{4000, 20_000, 60_000}[f.seed%3]
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(r.IntN(longest)) * time.Millisecond):
		}
		h := pick(r, f.hosts)
		p := h.current()
		deeds := []struct {
			name  string
			often int
			do    func() bool // false when it could not be done just now
		}{
			{"worker killed", 6, func() bool { return h.crash(p, time.Duration(r.IntN(3000))*time.Millisecond) }},
			{"host gone for minutes", 1, func() bool {
				return h.blow() && h.crash(p, lease+time.Duration(r.IntN(60))*time.Second)
			}},
			{"machine lost", 1, func() bool { return h.lose() }},
			{"state directory lost", 3, func() bool { return h.loseState(p, nil, time.Duration(r.IntN(3000))*time.Millisecond) }},
			{"state directory copied from another host", 3, func() bool {
				return h.loseState(p, pick(r, f.hosts), time.Duration(r.IntN(3000))*time.Millisecond)
			}},
			{"worker stopped, its supervisor at hand", 3, func() bool { return f.stopped(h, p) }},
			{"worker stopped past its lease", 2, func() bool { return f.forsaken(h, p) }},
			{"host cut off for a minute", 3, func() bool { return h.cutFor(time.Duration(r.IntN(50)) * time.Second) }},
			{"host cut off past its leases", 6, func() bool { return f.severed(h) }},
			{"redis away for a minute", 2, func() bool { return f.awayFor(time.Duration(r.IntN(50)) * time.Second) }},
			{"redis away past the leases", 1, func() bool { return f.longAway() }},
			{"redis lost its last second", 1, func() bool { return f.rollback(r, svc) }},
			{"docker away", 3, func() bool { return f.noDocker(h, time.Duration(1+r.IntN(30))*time.Second) }},
			{"container removed", 4, func() bool { return h.loseContainer(r) }},
			{"ticket lost", 6, func() bool { return f.queue.Lose(r.IntN(1000)) }},
			{"ticket twice", 6, func() bool { return f.again(r) }},
			{"cancelled", 4, func() bool { return f.cancel(r, svc) }},
			{"worker drained", 2, func() bool { p.stop(); return true }},
			{"worker told to hand back", 1, func() bool { p.drain(worker.DrainHandBack); return true }},
			{"host out of the farm", 2, func() bool { return f.outOfFarm(r, p) }},
			{"worker upgraded", 2, func() bool { p.drain(worker.DrainAdopt); return true }},
		}
		total := 0
		for _, d := range deeds {
			total += d.often
		}
		n := r.IntN(total)
		for _, d := range deeds {
			if n -= d.often; n < 0 {
				f.log.Info("FAULT", "what", d.name, "host", h.name)
				if d.do() {
					f.oracle.Fault(d.name)
				}
				break
			}
		}
	}
}

// outage claims a host for something that keeps it from renewing its leases for a
// while. Two in a row would be one that is too long, so there is a pause between
// them; false means that there was another one just now.
func (h *host) outage(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Before(h.outages) {
		return false
	}
	h.outages = now.Add(d + 20*time.Second)
	return true
}

// blow claims a host for something that takes its jobs away. Farms that are never
// on their feet have nothing to lose.
func (h *host) blow() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Before(h.blows) {
		return false
	}
	h.blows = now.Add(8 * time.Minute)
	return true
}

// calmFor claims a host for a blow that no outage may follow for a while.
func (h *host) calmFor(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if now.Before(h.outages) || now.Before(h.blows) {
		return false
	}
	h.outages, h.blows = now.Add(d), now.Add(8*time.Minute)
	return true
}

func (h *host) cutFor(d time.Duration) bool {
	if !h.outage(d) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = time.Now().Add(d)
	h.farm.oracle.Silenced(h.process.identity)
	return true
}

func (f *farm) awayFor(d time.Duration) bool {
	for _, h := range f.hosts {
		if !h.outage(d) {
			return false
		}
	}
	f.away.Store(time.Now().Add(d).UnixNano())
	return true
}

// lose takes the whole machine: what ran on it ended with it.
func (h *host) lose() bool {
	for _, m := range h.mates {
		if !m.blow() {
			return false
		}
	}
	h.excuseAll("its machine was lost")
	for _, m := range h.mates {
		m.crash(m.current(), lease)
		m.mu.Lock()
		m.boot++
		m.mu.Unlock()
	}
	for _, c := range h.engine.Containers() {
		h.farm.oracle.Removed(c.Labels[engine.LabelJob])
		h.engine.Lose(c.ID)
	}
	return true
}

// loseState takes the host's state directory, and gives it a copy of another host's in
// its place, if there is another. The next worker is another host, and nothing else
// comes in its way until it has ended what the one before left.
func (h *host) loseState(p *process, original *host, down time.Duration) bool {
	if original == h || !h.calmFor(lease+orphanTime) {
		return false
	}
	h.excuseAll("its state directory was lost")
	if !h.crash(p, down) {
		return false
	}
	h.farm.oracle.Shares(p.identity) // with the next worker of this machine
	h.mu.Lock()
	defer h.mu.Unlock()
	h.newDir()
	if original != nil {
		h.original = original
		original.copyState(h.dir)
	}
	return true
}

// copyState copies the host's state directory while its worker uses it.
func (h *host) copyState(to string) {
	h.mu.Lock()
	from := h.dir
	h.mu.Unlock()
	_ = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if content, err := os.ReadFile(path); err == nil {
			return os.WriteFile(target, content, 0o600)
		}
		return nil
	})
}

// stopped stops a worker until its supervisor has had enough of the silence.
func (f *farm) stopped(h *host, p *process) bool {
	if !h.outage(lease / 3) {
		return false
	}
	h.darken(lease/3 + time.Second) // which matters if it is cut off, too
	thaw := p.freeze()
	go func() {
		time.Sleep(lease / 3)
		h.crash(p, time.Second)
		thaw()
	}()
	return true
}

// forsaken stops a worker, and the others that could have looked after it.
func (f *farm) forsaken(h *host, p *process) bool {
	if !h.blow() {
		return false
	}
	h.darken(3 * lease)
	h.excuseAll("its worker stood still")
	thaw := p.freeze()
	go func() {
		time.Sleep(3 * lease)
		thaw()
	}()
	return true
}

// severed cuts a host off for longer than its leases hold. It has to end its
// containers by itself, in time.
func (f *farm) severed(h *host) bool {
	if !h.blow() {
		return false
	}
	h.excuseAll("its host was cut off")
	h.mu.Lock()
	h.cut = time.Now().Add(2 * lease)
	h.farm.oracle.Silenced(h.process.identity)
	h.mu.Unlock()
	return true
}

func (f *farm) longAway() bool {
	for _, h := range f.hosts {
		if !h.blow() {
			return false
		}
	}
	for _, h := range f.hosts {
		h.excuseAll("redis was away for too long")
	}
	f.away.Store(time.Now().Add(2 * lease).UnixNano())
	return true
}

// rollback takes the database back by a second or two. Producers know that it
// was not yet on the disk, and submit again.
func (f *farm) rollback(r *rand.Rand, svc *jobs.Service) bool {
	if !f.rolling.TryLock() { // one at a time; and a lock that is waited for stops the clock
		return false
	}
	defer f.rolling.Unlock()
	f.truth.whole.Lock()
	restore := []func(){f.truth.Snapshot(), f.queue.Snapshot(), f.oracle.Snapshot()}
	f.truth.whole.Unlock()
	then := time.Now()
	time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	f.truth.whole.Lock()
	known := f.containers()
	for _, back := range restore {
		back()
	}
	for id, container := range f.containers() {
		if known[id] != container {
			f.oracle.Blur(id)
		}
	}
	f.wentBack.Store(time.Now().UnixMicro())
	lost := f.oracle.Forgot(then)
	f.truth.whole.Unlock()
	for _, key := range lost {
		f.mu.Lock()
		t := f.tasks[key]
		f.mu.Unlock()
		f.submit(svc, t)
	}
	return true
}

// containers are those that the records of running jobs name.
func (f *farm) containers() map[string]string {
	all, _, _ := f.truth.Memory.Scan(context.Background(), jobs.Running, 0, 1<<20)
	names := map[string]string{}
	for _, job := range all {
		names[job.ID] = job.Container.Name + job.Container.ID
	}
	return names
}

// noDocker takes a daemon away; what runs runs on.
func (f *farm) noDocker(h *host, d time.Duration) bool {
	for _, m := range h.mates {
		if !m.outage(d) {
			return false
		}
	}
	for _, m := range h.mates {
		m.mu.Lock()
		m.noDocker = time.Now().Add(d)
		m.mu.Unlock()
	}
	h.excuseAll("docker was away")
	h.engine.SetDown(true)
	go func() {
		time.Sleep(d)
		h.engine.SetDown(false)
	}()
	return true
}

func (h *host) loseContainer(r *rand.Rand) bool {
	all := slices.DeleteFunc(h.engine.Containers(), func(c engine.State) bool { return c.Labels[engine.LabelJob] == "" })
	if len(all) == 0 {
		return false
	}
	c := pick(r, all)
	h.excuse(c.ID, "its container was removed")
	h.farm.oracle.Removed(c.Labels[engine.LabelJob])
	h.engine.Lose(c.ID)
	return true
}

// again delivers a ticket a second time.
func (f *farm) again(r *rand.Rand) bool {
	all, _, _ := f.truth.Scan(context.Background(), jobs.Running, 0, 1<<20)
	if len(all) == 0 {
		return false
	}
	f.queue.Return(pick(r, all).Ticket(), 0)
	return true
}

func (f *farm) cancel(r *rand.Rand, svc *jobs.Service) bool {
	var all []jobs.Job
	for _, s := range []jobs.State{jobs.Queued, jobs.Waiting, jobs.Running} {
		found, _, _ := f.truth.Scan(context.Background(), s, 0, 1<<20)
		all = append(all, found...)
	}
	up, _ := f.truth.List(context.Background(), jobs.Query{Up: true})
	all = append(all, up.Jobs...)
	if len(all) == 0 {
		return false
	}
	job := pick(r, all)
	f.oracle.Cancelled(job.ID)
	_, _ = svc.Cancel(context.Background(), job.ID, "the monkey") // it may have ended
	return true
}
