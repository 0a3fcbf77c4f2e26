package jobs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// now is when the situations of this test are.
func now() time.Time { return time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC) }

// upHost is a host that takes jobs, with what is changed.
func upHost(worker string, change ...func(*jobs.Host)) jobs.Host {
	h := jobs.Host{
		Name: "id-" + worker, Worker: worker, Platform: "linux/amd64", CPUs: 4, Memory: 8 << 30, Slots: 2, Queues: []string{"builds"},
		State: jobs.HostReady, Seen: now().Add(-5 * time.Second), Every: jobs.Duration(time.Minute),
	}
	for _, c := range change {
		c(&h)
	}
	return h
}

func running(n int) func(*jobs.Host) { return func(h *jobs.Host) { h.Running = n } }
func silent(h *jobs.Host)            { h.Seen = now().Add(-10 * time.Minute) }
func seen(ago time.Duration) func(*jobs.Host) {
	return func(h *jobs.Host) { h.Seen = now().Add(-ago) }
}

func leaves(d time.Duration) func(*jobs.Host) {
	return func(h *jobs.Host) { h.AffinityWait = jobs.Duration(d) }
}
func unfit(h *jobs.Host)               { h.State, h.Reason = jobs.HostUnfit, "its disk is full" }
func serves(q string) func(*jobs.Host) { return func(h *jobs.Host) { h.Queues = []string{q} } }

func ordered(kind jobs.OrderKind, state jobs.HostState) func(*jobs.Host) {
	return func(h *jobs.Host) {
		h.State = state
		h.Order = &jobs.HostOrder{Kind: kind, By: "ops", Reason: "new kernel", Since: now().Add(-12 * time.Minute)}
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	plain := jobs.Job{ID: "job-1", State: jobs.Queued, Spec: jobs.Spec{Name: "web"}.Normalize()}
	with := func(change func(*jobs.Job)) jobs.Job {
		j := plain
		change(&j)
		return j
	}
	needing := func(k, v string) jobs.Job {
		return with(func(j *jobs.Job) { j.Spec.Requires = &jobs.Requires{Labels: map[string]string{k: v}} })
	}
	sized := func(cpus float64, memory jobs.Bytes) jobs.Job {
		return with(func(j *jobs.Job) { j.Spec.Run = &jobs.Run{Limits: jobs.Limits{CPUs: cpus, Memory: memory}} })
	}
	build := func(j *jobs.Job) { j.Spec.Build = &jobs.Build{} }
	since := func(queued, retried time.Duration, changes ...func(*jobs.Job)) jobs.Job {
		return with(func(j *jobs.Job) {
			for _, change := range changes {
				change(j)
			}
			j.Queued = now().Add(-queued)
			if retried > 0 {
				j.State, j.NotBefore = jobs.Waiting, now().Add(-retried)
			}
		})
	}
	three := 3
	took := func(name string, d time.Duration) jobs.Job {
		return jobs.Job{Spec: jobs.Spec{Name: name}, Claimed: now().Add(-time.Hour), Finished: now().Add(-time.Hour + d)}
	}
	busy := func(worker, name string, since time.Duration) jobs.Job {
		return jobs.Job{Spec: jobs.Spec{Name: name}, State: jobs.Running, Host: "id-" + worker, Claimed: now().Add(-since)}
	}
	failure := &jobs.Failure{Message: "exit code 1", Hint: "look at the log"}
	for _, tt := range []struct {
		name    string
		job     jobs.Job
		with    jobs.Situation // Job and Now are set
		blocker jobs.Blocker
		text    string
	}{
		{"no worker ever", plain, jobs.Situation{}, jobs.BlockedByNoWorker, "no worker is alive"},
		{"no worker alive", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", silent)}}, jobs.BlockedByNoWorker, "no worker is alive; the last, anvil, was heard of 10m ago"},
		{"all that is known is an entry that is damaged", plain, jobs.Situation{Hosts: []jobs.Host{{Name: "h-1", Damaged: "no JSON"}}}, jobs.BlockedByNoWorker, "no worker is alive"},
		{"no host serves the queue", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", serves("gpu"))}}, jobs.BlockedByQueue, `no host serves the queue "builds"`},
		{"a label is missing", needing("gpu", "yes"), jobs.Situation{Hosts: []jobs.Host{upHost("anvil"), upHost("boiler", serves("gpu"))}}, jobs.BlockedByLabels, "no host has what it needs; the nearest is anvil: gpu=yes missing"},
		{"a label has another value", needing("gpu", "yes"), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", func(h *jobs.Host) { h.Labels = map[string]string{"gpu": "no"} })}}, jobs.BlockedByLabels, "no host has what it needs; the nearest is anvil: it has gpu=no, not gpu=yes"},
		{"another host is asked for", needing("host", "crane"), jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}}, jobs.BlockedByLabels, "no host has what it needs; the nearest is anvil: host=crane missing"},
		{"a host for those who ask", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", func(h *jobs.Host) { h.OnlyLabels = map[string]string{"gpu": "yes"} })}}, jobs.BlockedByLabels, "no host has what it needs; the nearest is anvil: it takes only jobs that require gpu=yes"},
		{"another platform", with(func(j *jobs.Job) { j.Spec.Requires = &jobs.Requires{Platform: "linux/arm64"} }), jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}}, jobs.BlockedByPlatform, "no host has what it needs; the nearest is anvil: its platform is linux/amd64"},
		{"a label is nearer than a platform", with(func(j *jobs.Job) {
			j.Spec.Requires = &jobs.Requires{Platform: "linux/arm64", Labels: map[string]string{"gpu": "yes"}}
		}), jobs.Situation{Hosts: []jobs.Host{upHost("anvil"), upHost("boiler", func(h *jobs.Host) { h.Platform = "linux/arm64" })}}, jobs.BlockedByLabels, "no host has what it needs; the nearest is boiler: gpu=yes missing"},
		{"the nearest lacks the fewest things", with(func(j *jobs.Job) {
			j.Spec.Requires = &jobs.Requires{Labels: map[string]string{"gpu": "yes", "zone": "b"}}
		}), jobs.Situation{Hosts: []jobs.Host{upHost("anvil"), upHost("boiler", func(h *jobs.Host) { h.Labels = map[string]string{"gpu": "yes"} })}}, jobs.BlockedByLabels, "no host has what it needs; the nearest is boiler: zone=b missing"},
		{"too many CPUs", sized(8, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}}, jobs.BlockedBySize, "no host has what it needs; the nearest is anvil: it has 4 CPUs, not 8"},
		{"too much memory", sized(0, 16<<30), jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}}, jobs.BlockedBySize, "no host has what it needs; the nearest is anvil: it has 8GiB of memory, not 16GiB"},
		{"only a silent host could", needing("gpu", "yes"), jobs.Situation{Hosts: []jobs.Host{upHost("anvil"), upHost("crane", silent, func(h *jobs.Host) { h.Labels = map[string]string{"gpu": "yes"} })}}, jobs.BlockedBySilence, "crane could run it, but: not heard of for 10m"},
		{"a host with a free slot leaves it waiting, and says nothing", since(time.Minute, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", seen(20*time.Second))}}, jobs.BlockedBySilence, "anvil could run it, but: not heard of for 20s, though it has a free slot"},
		{"it has just begun to wait", since(7*time.Second, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", seen(50*time.Second))}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"its pause is just over", since(time.Minute, 7*time.Second), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", seen(50*time.Second))}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"the host has just said something", since(time.Minute, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", seen(7*time.Second))}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"another host is well", since(time.Minute, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", seen(20*time.Second)), upHost("boiler", running(2))}}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is boiler: 2 of 2 slots busy"},
		{"cordoned", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", ordered(jobs.OrderCordon, jobs.HostCordoned))}}, jobs.BlockedByOrder, "anvil could run it, but: cordoned for 12m by ops: new kernel"},
		{"draining", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", ordered(jobs.OrderDrain, jobs.HostDraining)), upHost("boiler", ordered(jobs.OrderDrain, jobs.HostDrained))}}, jobs.BlockedByOrder, "anvil could run it, but: draining for 12m by ops: new kernel, and so for 1 more"},
		{"its worker ends", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", func(h *jobs.Host) { h.State = jobs.HostDraining })}}, jobs.BlockedByOrder, "anvil could run it, but: its worker ends"},
		{"unfit", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", unfit)}}, jobs.BlockedByUnfit, "anvil could run it, but: unfit: its disk is full"},
		{"unfit is nearer than ordered", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", ordered(jobs.OrderCordon, jobs.HostCordoned)), upHost("boiler", unfit)}}, jobs.BlockedByUnfit, "boiler could run it, but: unfit: its disk is full"},
		{"an entry that is damaged", plain, jobs.Situation{Hosts: []jobs.Host{{Name: "h-1", Damaged: "no JSON"}, upHost("anvil", serves("gpu"))}}, jobs.BlockedBySilence, "h-1 could run it, but: its entry is damaged: no JSON"},
		{"slots", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", running(2))}}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is anvil: 2 of 2 slots busy"},
		{"slots, with a place in line and a guess", plain, jobs.Situation{
			Hosts:  []jobs.Host{upHost("anvil", running(2)), upHost("boiler", unfit)},
			Ahead:  &three,
			Recent: []jobs.Job{took("web", 3*time.Minute), took("web", 5*time.Minute), took("web", 4*time.Minute), took("other", time.Hour)}, Running: []jobs.Job{busy("anvil", "web", time.Minute), busy("anvil", "other", time.Minute)},
		}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is anvil: 2 of 2 slots busy, about 3m; 3 jobs are before it"},
		{"the host that is free sooner", plain, jobs.Situation{
			Hosts:  []jobs.Host{upHost("anvil", running(2)), upHost("boiler", running(3))},
			Recent: []jobs.Job{took("web", 4*time.Minute)}, Running: []jobs.Job{busy("anvil", "web", time.Minute), busy("boiler", "api", 10*time.Minute)},
		}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is boiler: 3 of 2 slots busy, about 1s"},
		{"no room in memory", sized(0, 6<<30), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", running(1), func(h *jobs.Host) { h.UsedMemory = 4 << 30 })}}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is anvil: 4GiB of 8GiB of memory are taken by jobs"},
		{"no room in CPUs", sized(3, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", running(1), func(h *jobs.Host) { h.UsedCPUs = 1.5 })}}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is anvil: 1.5 of 4 CPUs are taken by jobs"},
		{"its group is full", with(func(j *jobs.Job) { j.Spec.Concurrency = &jobs.Concurrency{Group: "deploy", Limit: 1} }), jobs.Situation{
			Hosts: []jobs.Host{upHost("anvil")}, Groups: map[string]jobs.Group{"deploy": {Members: []string{"job-0"}, Waiting: []string{"job-7", "job-1"}}},
		}, jobs.BlockedByGroup, "1 of 1 jobs of its group deploy run: job-0; 1 job is before it"},
		{"its group has a place for another", with(func(j *jobs.Job) { j.Spec.Concurrency = &jobs.Concurrency{Group: "deploy", Limit: 1} }), jobs.Situation{
			Hosts: []jobs.Host{upHost("anvil")}, Groups: map[string]jobs.Group{"deploy": {Waiting: []string{"job-7"}}},
		}, jobs.BlockedByGroup, "0 of 1 jobs of its group deploy run; 1 job is before it"},
		{"its group has a place", with(func(j *jobs.Job) { j.Spec.Concurrency = &jobs.Concurrency{Group: "deploy", Limit: 2} }), jobs.Situation{
			Hosts: []jobs.Host{upHost("anvil")}, Groups: map[string]jobs.Group{"deploy": {Members: []string{"job-0"}, Waiting: []string{"job-1"}}},
		}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"a host has not told yet that it is full", plain, jobs.Situation{
			Hosts:   []jobs.Host{upHost("anvil", running(1)), upHost("boiler", running(2))},
			Running: []jobs.Job{busy("anvil", "web", 0), busy("anvil", "web", 0), busy("boiler", "web", 0), busy("boiler", "web", 0)}, AllRun: true,
		}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is anvil: 2 of 2 slots busy"},
		{"a host has not told yet that there is no room", sized(0, 6<<30), jobs.Situation{
			Hosts: []jobs.Host{upHost("anvil")},
			Running: []jobs.Job{{
				State: jobs.Running, Host: "id-anvil", Spec: jobs.Spec{Run: &jobs.Run{Limits: jobs.Limits{CPUs: 1, Memory: 4 << 30}}},
			}}, AllRun: true,
		}, jobs.BlockedBySlots, "all hosts that could run it are busy; the nearest is anvil: 4GiB of 8GiB of memory are taken by jobs"},
		{"builds are left to others for a moment", since(time.Second, 0, build), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", leaves(2*time.Second))}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{
			"builds are left to others for long", since(4*time.Second, 0, build),
			jobs.Situation{Hosts: []jobs.Host{upHost("anvil", leaves(time.Minute))}},
			jobs.BlockedByTurn, "anvil has a free slot; if others have built web before, it is left to these for 56s",
		},
		{"what is no build is left to none", since(4*time.Second, 0), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", leaves(time.Minute))}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"a host leaves nothing to others", since(4*time.Second, 0, build), jobs.Situation{Hosts: []jobs.Host{upHost("anvil", leaves(time.Minute)), upHost("boiler")}}, jobs.BlockedByTurn, "boiler has a free slot and is about to take it"},
		{
			"a host that leaves builds for long is not silent", since(30*time.Second, 0, build),
			jobs.Situation{Hosts: []jobs.Host{upHost("anvil", leaves(time.Minute), seen(50*time.Second))}},
			jobs.BlockedByTurn, "anvil has a free slot; if others have built web before, it is left to these for 30s",
		},
		{"a host has not told yet that a slot is free", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", running(2))}, AllRun: true}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"a slot is free", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil", running(1)), upHost("boiler", unfit)}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"paused by an operator", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}, Pauses: []jobs.Pause{{Queue: "builds", Priority: jobs.PriorityNormal, Name: "builds", By: "ops", Reason: "registry moves"}}}, jobs.BlockedByPause, "queue builds is paused by ops: registry moves; resume it with: enqueue queues resume builds"},
		{"paused in asynq", plain, jobs.Situation{Pauses: []jobs.Pause{{Queue: "builds", Priority: jobs.PriorityNormal, Name: "builds"}}}, jobs.BlockedByPause, "queue builds is paused in asynq; resume it with: enqueue queues resume builds"},
		{"its lane is paused in asynq", plain, jobs.Situation{
			Hosts: []jobs.Host{upHost("anvil")}, Lanes: map[string]jobs.Pause{"job-1": {Queue: "builds", Priority: jobs.PriorityLow, Name: "builds:low~web"}},
		}, jobs.BlockedByPause, "queue builds:low~web is paused in asynq; resume it with: enqueue queues resume builds:low"},
		{"another lane is paused in asynq", plain, jobs.Situation{
			Hosts: []jobs.Host{upHost("anvil")}, Lanes: map[string]jobs.Pause{"job-2": {Queue: "builds", Priority: jobs.PriorityNormal, Name: "builds~api"}},
		}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"another priority is paused", plain, jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}, Pauses: []jobs.Pause{{Queue: "builds", Priority: jobs.PriorityLow, Name: "builds:low"}}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"the pause before a retry", with(func(j *jobs.Job) {
			j.State, j.NotBefore, j.Past = jobs.Waiting, now().Add(40*time.Second), []jobs.PastAttempt{{Attempt: 1, Failure: failure}}
		}), jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}}, jobs.BlockedByRetryPause, "it is tried again in 40s, because: exit code 1"},
		{"the pause is over", with(func(j *jobs.Job) { j.State, j.NotBefore = jobs.Waiting, now().Add(-time.Second) }), jobs.Situation{Hosts: []jobs.Host{upHost("anvil")}}, jobs.BlockedByTurn, "anvil has a free slot and is about to take it"},
		{"it runs", with(func(j *jobs.Job) { j.State, j.Worker = jobs.Running, "anvil" }), jobs.Situation{}, "", "it runs on anvil"},
		{"it failed", with(func(j *jobs.Job) { j.State, j.Result = jobs.Failed, &jobs.Result{Failure: failure} }), jobs.Situation{}, "", "it ended as failed: exit code 1; look at the log"},
		{"it succeeded", with(func(j *jobs.Job) { j.State, j.Result = jobs.Succeeded, &jobs.Result{} }), jobs.Situation{}, "", "it has succeeded"},
	} {
		s := tt.with
		s.Job, s.Now = tt.job, now()
		got := s.Explain()
		if got.Blocker != tt.blocker || got.Text != tt.text {
			t.Errorf("%s: %s: %s\nwant %s: %s", tt.name, got.Blocker, got.Text, tt.blocker, tt.text)
		}
		if tt.blocker != "" && len(got.Hosts) != len(s.Hosts) {
			t.Errorf("%s: it tells of %d hosts of %d", tt.name, len(got.Hosts), len(s.Hosts))
		}
		for _, h := range got.Hosts {
			if h.Blocker == "" || strings.TrimSpace(h.Text) == "" {
				t.Errorf("%s: nothing is said of host %s", tt.name, h.Worker)
			}
		}
	}
}

// A host takes nothing from a queue that is paused: that it left the job waiting says
// nothing of it.
func TestWhyOfAQuietHostWhileItsQueueIsPaused(t *testing.T) {
	t.Parallel()
	s := jobs.Situation{
		Now: now(), Hosts: []jobs.Host{upHost("anvil", seen(50*time.Second))}, Pauses: []jobs.Pause{{Queue: "builds", Priority: jobs.PriorityNormal, Name: "builds"}},
		Job: jobs.Job{State: jobs.Queued, Queued: now().Add(-time.Hour), Spec: jobs.Spec{}.Normalize()},
	}
	if w := s.Explain(); w.Blocker != jobs.BlockedByPause || w.Hosts[0].Blocker != jobs.BlockedByTurn {
		t.Errorf("why says %s, and of the host %+v; want the pause alone", w.Blocker, w.Hosts[0])
	}
}

// What no host lacks, no host may be said to lack, and the other way round: people are
// told what workers decide.
func TestWhyAgreesWithTheWorkers(t *testing.T) {
	t.Parallel()
	needs := []jobs.Spec{{}, {Requires: &jobs.Requires{Platform: "linux/arm64"}}, {Requires: &jobs.Requires{Labels: map[string]string{"gpu": "yes"}}}, {Run: &jobs.Run{Limits: jobs.Limits{CPUs: 5}}}}
	hosts := []jobs.Host{upHost("a"), upHost("b", func(h *jobs.Host) { h.Labels = map[string]string{"gpu": "yes"} }), upHost("c", func(h *jobs.Host) { h.Platform = "linux/arm64" }), upHost("d", func(h *jobs.Host) { h.CPUs = 8 })}
	for _, spec := range needs {
		for _, h := range hosts {
			s := jobs.Situation{Job: jobs.Job{State: jobs.Queued, Spec: spec.Normalize()}, Now: now(), Hosts: []jobs.Host{h}}
			if takes := h.Offer().Meets(spec.Needs()); takes != (s.Explain().Blocker == jobs.BlockedByTurn) {
				t.Errorf("%s takes %+v: %t, and why says %s", h.Worker, spec.Needs(), takes, s.Explain().Text)
			}
		}
	}
}
