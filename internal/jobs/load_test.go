package jobs_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// The slots of hosts that take no jobs are no use, but for those on which jobs still run.
func TestLoad(t *testing.T) {
	t.Parallel()
	host := func(state jobs.HostState, running int) jobs.Host {
		return jobs.Host{State: state, Slots: 4, Running: running, Queues: []string{jobs.DefaultQueue}, Seen: now(), Every: jobs.Duration(time.Minute)}
	}
	silent := host(jobs.HostReady, 2)
	silent.Seen, silent.Queues = now().Add(-time.Hour), []string{"gpu"}
	sit := jobs.Situation{Now: now(), Hosts: []jobs.Host{
		host(jobs.HostReady, 1), host(jobs.HostReady, 5), host(jobs.HostUnfit, 1), host(jobs.HostCordoned, 0), silent, {Name: "h", Damaged: "not JSON"},
	}}
	gpu := jobs.Needs{Labels: map[string]string{"gpu": "yes"}}.Route()
	l := sit.Load([]jobs.Depth{
		{Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal, Waiting: 3, Oldest: now().Add(-90 * time.Second)},
		{Queue: jobs.DefaultQueue, Priority: jobs.PriorityLow, Route: gpu, Waiting: 1},
	})
	if want := (jobs.Slots{Busy: 6, Idle: 3, Unusable: 11}); l.Slots != want {
		t.Errorf("slots %+v; want %+v", l.Slots, want)
	}
	if want := map[jobs.HostState]int{jobs.HostReady: 2, jobs.HostUnfit: 1, jobs.HostCordoned: 1, jobs.HostSilent: 2}; !maps.Equal(l.Hosts, want) {
		t.Errorf("hosts %v; want %v", l.Hosts, want)
	}
	if !slices.Equal(l.Served, []string{jobs.DefaultQueue}) {
		t.Errorf("served %q; want what living hosts serve", l.Served)
	}
	if q := l.Queues[0]; q.Blocker != jobs.BlockedByTurn || q.Hosts != 4 || q.OldestSeconds == nil || *q.OldestSeconds != 90 {
		t.Errorf("%+v; want a host that is about to take them after 90 s", q)
	}
	if q := l.Queues[1]; q.Blocker != jobs.BlockedBySilence || q.Hosts != 0 || q.OldestSeconds != nil {
		t.Errorf("%+v; want the host that cannot be read, which may have the label", q)
	}
}

// Users can have as many kinds of hosts as they like: those where most wait are judged.
func TestLoadOfManyRoutes(t *testing.T) {
	t.Parallel()
	depths := make([]jobs.Depth, 1500)
	for i := range depths {
		route := jobs.Needs{Labels: map[string]string{jobs.HostLabel: fmt.Sprint("h-", i)}}.Route()
		depths[i] = jobs.Depth{Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal, Route: route, Waiting: i}
	}
	l := jobs.Situation{Now: now()}.Load(depths)
	if l.Queues[499].Blocker != "" || l.Queues[500].Blocker != jobs.BlockedByNoWorker || l.Queues[1499].Blocker != jobs.BlockedByNoWorker {
		t.Errorf("blockers %q, %q, %q; want the largest 1,000 judged", l.Queues[499].Blocker, l.Queues[500].Blocker, l.Queues[1499].Blocker)
	}
}
