//go:build integration

package e2e_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// scene is a situation of a farm, in which jobs wait, and how it ends.
type scene struct {
	name  string
	begin func(f *whyFarm) []waiting
	end   func(f *whyFarm)
}

// What texts have of who gave an order, and of how long ago something was.
const (
	giver   = `\S+@\S+`
	forTime = `[0-9hms]+`
)

// Whatever keeps a job, its owner is told the one reason, and for each host what is nearest
// to letting it run there, by every verb alike. Once that is over the job runs.
func TestWhyOnAFarm(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newWhyFarm(t, hostA)
	var watch *whyWatch
	began, rows := time.Now(), 0
	for i, s := range scenes() {
		played := false
		t.Run(s.name, func(t *testing.T) {
			began := time.Now()
			f.farm = f.all.in(t)
			all := s.begin(f)
			rows += len(all)
			for i := range all {
				all[i].submit(f.farm)
			}
			for i := range all {
				all[i].check(f.farm)
			}
			if s.end != nil {
				s.end(f)
			}
			for _, r := range all {
				r.over(f.farm)
			}
			t.Logf("%d situations in %s", len(all), time.Since(began).Round(100*time.Millisecond))
			played = true
		})
		f.farm = f.all
		if !played {
			t.FailNow() // the next scene needs the farm as this one leaves it
		}
		if i == 0 { // in it, who looks first counts
			watch = watchWhy(f.farm)
		}
	}
	looks, bad := watch.stop()
	t.Logf("%d situations in %s, and %d looks at all that waits", rows, time.Since(began).Round(time.Second), looks)
	if rows < 25 || looks < 10 {
		t.Errorf("there were %d situations and %d looks", rows, looks)
	}
	for _, b := range bad {
		t.Error(b)
	}
	clean(t, hostA, before)
}

// scenes are played one after the other.
func scenes() []scene {
	requires := func(labels ...string) (args []string) {
		for _, l := range labels {
			args = append(args, "--requires", l)
		}
		return args
	}
	return []scene{{
		name: "no worker was ever there",
		begin: func(f *whyFarm) []waiting {
			expired := func(first string) waiting {
				return waiting{
					name: "its queue timeout is over, and looks first: " + first, args: []string{"--queue-timeout", "1s"}, first: first,
					state: jobs.Expired, says: `it ended as expired: no worker took the job within its queue timeout; .+`, then: jobs.Expired,
				}
			}
			gone := f.submit("--image", hosttest.BusyboxTag, "--", "true")
			f.cancel(gone)
			return []waiting{
				{name: "no worker", blocker: jobs.BlockedByNoWorker, says: `no worker is alive`},
				{name: "cancelled in the queue", id: gone, state: jobs.Cancelled, says: `it ended as cancelled: cancelled by .+`, then: jobs.Cancelled},
				expired("why"), expired("status"), expired("wait"), expired("ls"),
			}
		},
		end: (*whyFarm).startOne,
	}, {
		name: "one host lacks what they need",
		begin: func(f *whyFarm) []waiting {
			cpus, memory := f.size()
			newStranger(f.farm).push("stranger", fmt.Sprintf(`{"requires": {"labels": {"gpu": "yes"}}, "run": {"image": %q, "command": ["true"]}}`, hosttest.BusyboxTag))
			f.eventually(20*time.Second, "the stranger's job has a record", func() bool { return f.enqueue("status", "stranger").code == 0 })
			lacks := func(name string, b jobs.Blocker, text string, args ...string) waiting {
				return waiting{
					name: name, args: args, blocker: b, says: `no host has what it needs; the nearest is one: ` + text,
					hosts: map[string]string{"one": string(b) + ": " + text},
				}
			}
			never := func(w waiting) waiting { w.then = jobs.Cancelled; return w }
			stranger := lacks("a plain producer's, a label is missing", jobs.BlockedByLabels, `gpu=yes missing`)
			stranger.id = "stranger"
			return []waiting{
				{name: "its queue is served by no host", args: []string{"--queue", "maps"}, blocker: jobs.BlockedByQueue, says: `no host serves the queue "maps"`, hosts: map[string]string{"one": "queue: it serves builds, docs"}},
				lacks("a label is missing", jobs.BlockedByLabels, `gpu=yes missing`, requires("gpu=yes")...),
				lacks("two labels are missing", jobs.BlockedByLabels, `gpu=yes missing, zone=b missing`, requires("gpu=yes", "zone=b")...),
				lacks("a label has another value", jobs.BlockedByLabels, `it has disk=ssd, not disk=hdd`, requires("disk=hdd")...),
				lacks("another host is asked for", jobs.BlockedByLabels, `it has host=one, not host=two`, requires("host=two")...),
				lacks("a team's host is asked for", jobs.BlockedByLabels, `team=blue missing`, requires("team=blue")...),
				stranger,
				never(lacks("another platform", jobs.BlockedByPlatform, `its platform is linux/\w+`, requires("platform=linux/riscv64")...)),
				never(lacks("another platform, and a label", jobs.BlockedByPlatform, `its platform is linux/\w+, gpu=yes missing`, requires("platform=linux/riscv64", "gpu=yes")...)),
				never(lacks("more CPUs than the host has", jobs.BlockedBySize, fmt.Sprintf(`it has %d CPUs, not 512`, cpus), "--cpus", "512")),
				never(lacks("more memory than the host has", jobs.BlockedBySize, fmt.Sprintf(`it has %s of memory, not 8TiB`, memory), "--memory", "8t")),
				never(lacks("more CPUs, and a label", jobs.BlockedByLabels, fmt.Sprintf(`gpu=yes missing, it has %d CPUs, not 512`, cpus), append(requires("gpu=yes"), "--cpus", "512")...)),
			}
		},
		end: func(f *whyFarm) { f.startTwo(); f.startThree() },
	}, {
		name: "hosts lack different things",
		begin: func(*whyFarm) []waiting {
			return []waiting{{
				name: "one lacks less than the others", args: requires("gpu=yes", "zone=c"), then: jobs.Cancelled,
				blocker: jobs.BlockedByLabels, says: `no host has what it needs; the nearest is two: it has zone=b, not zone=c`,
				hosts: map[string]string{
					"one": `labels: gpu=yes missing, zone=c missing`, "two": `labels: it has zone=b, not zone=c`,
					"three": `labels: gpu=yes missing, zone=c missing, it takes only jobs that require team=blue`,
				},
			}, {
				name: "one serves its queue, another has the label", args: append(requires("gpu=yes"), "--queue", "docs"), then: jobs.Cancelled,
				blocker: jobs.BlockedByLabels, says: `no host has what it needs; the nearest is one: gpu=yes missing`,
				hosts: map[string]string{"one": `labels: gpu=yes missing`, "two": `queue: it serves builds, maps`, "three": `queue: it serves builds`},
			}, {
				name: "too large for the one that serves its queue", args: []string{"--queue", "maps", "--cpus", "512"}, then: jobs.Cancelled,
				blocker: jobs.BlockedBySize, says: `no host has what it needs; the nearest is two: it has \d+ CPUs, not 512`,
				hosts: map[string]string{"one": `queue: .+`, "two": `size: .+`, "three": `queue: .+`},
			}, {
				name: "its host takes only jobs that ask for it", args: requires("host=three"), then: jobs.Cancelled,
				blocker: jobs.BlockedByLabels, says: `no host has what it needs; the nearest is \w+: .+`,
				hosts: map[string]string{
					"one": `labels: it has host=one, not host=three`, "two": `labels: it has host=two, not host=three`,
					"three": `labels: it takes only jobs that require team=blue`,
				},
			}, {
				name: "the pause before it is tried again", args: []string{"--retries", "3", "--image", hosttest.BusyboxTag, "--", "sh", "-c", "exit 7"}, then: jobs.Running,
				state: jobs.Waiting, blocker: jobs.BlockedByRetryPause, says: `it is tried again in [0-9]s, because: the container ended with exit code 7`,
				hosts: map[string]string{"one": `turn: 0 of 2 slots busy`, "three": `labels: .+`}, within: 20 * time.Second,
			}}
		},
	}, {
		name: "an entry that cannot be read",
		begin: func(f *whyFarm) []waiting {
			f.ask("HSET", "slipway:hosts", "h-odd", "no host")
			return []waiting{{
				name: "a host whose entry is damaged might run it", args: requires("gpu=no"), then: jobs.Cancelled,
				blocker: jobs.BlockedBySilence, says: `h-odd could run it, but: its entry is damaged: .+`,
				hosts: map[string]string{"h-odd": `silent: its entry is damaged: .+`, "one": `labels: gpu=no missing`, "two": `labels: it has gpu=yes, not gpu=no`},
			}}
		},
		end: func(f *whyFarm) { f.ask("HDEL", "slipway:hosts", "h-odd") },
	}, {
		name: "queues are paused",
		begin: func(f *whyFarm) []waiting {
			f.queues("pause", "builds:low", "--reason", "the registry moves")
			f.must(f.asynq.PauseQueue("docs"))
			f.must(f.asynq.PauseQueue("maps:high"))
			f.must(f.asynq.PauseQueue("builds~slow"))
			paused := func(name, queue, how string, args ...string) waiting {
				return waiting{name: name, args: args, blocker: jobs.BlockedByPause, says: `queue ` + queue + ` is paused ` + how + `; resume it with: enqueue queues resume ` + queue}
			}
			const byUs, byAsynq = `since [-0-9: ]{19} by ` + giver + `: the registry moves`, `in asynq since [-0-9: ]{19}`
			low := paused("one priority, by an operator", "builds:low", byUs, "--priority", "low")
			low.hosts = map[string]string{"one": `turn: \d of 2 slots busy`, "three": `labels: it takes only jobs that require team=blue`}
			lacks := paused("paused, and a label is missing", "builds:low", byUs, append(requires("gpu=no"), "--priority", "low")...)
			lacks.hosts, lacks.then = map[string]string{"one": `labels: gpu=no missing`}, jobs.Cancelled
			return []waiting{
				low, lacks,
				paused("a queue, in asynq", "docs", byAsynq, "--queue", "docs", "--name", "web"),
				paused("one priority, in asynq", "maps:high", byAsynq, append(requires("gpu=yes"), "--queue", "maps", "--priority", "high")...),
				{
					name: "one lane, in asynq", args: []string{"--name", "slow"}, blocker: jobs.BlockedByPause,
					says: `queue builds~slow is paused ` + byAsynq + `; resume it with: enqueue queues resume builds`,
				},
				{name: "another priority than the paused one", state: jobs.Succeeded, says: `it has succeeded`, within: 20 * time.Second},
				{name: "another queue's priority", args: []string{"--queue", "maps"}, state: jobs.Succeeded, says: `it has succeeded`, within: 20 * time.Second},
			}
		},
		end: func(f *whyFarm) {
			f.queues("resume", "builds", "maps")
			f.must(f.asynq.UnpauseQueue("docs"))
		},
	}, {
		name: "hosts have orders",
		begin: func(f *whyFarm) []waiting {
			f.order("cordon", "two", "--reason", "a new disk")
			f.order("drain", "three")
			const cordoned, drained = `cordoned for ` + forTime + ` by ` + giver + `: a new disk`, `drained for ` + forTime + ` by ` + giver + `: no reason given`
			return []waiting{{
				name: "the host that has its label is cordoned", args: requires("gpu=yes"), blocker: jobs.BlockedByOrder, says: `two could run it, but: ` + cordoned,
				hosts: map[string]string{"one": `labels: gpu=yes missing`, "two": `ordered: ` + cordoned, "three": `labels: gpu=yes missing, it takes only .+`},
			}, {
				name: "the host that it names is drained", args: requires("host=three", "team=blue"), blocker: jobs.BlockedByOrder, says: `three could run it, but: ` + drained,
				hosts: map[string]string{"one": `labels: .+`, "two": `labels: .+`, "three": `ordered: ` + drained},
			}}
		},
		end: func(f *whyFarm) { f.order("resume", "two", "three") },
	}, {
		name: "every host has an order",
		begin: func(f *whyFarm) []waiting {
			f.order("drain", "one", "two", "--reason", "a new kernel")
			return []waiting{{
				name: "all that could run it are drained", blocker: jobs.BlockedByOrder,
				says:  `(one|two) could run it, but: drained for ` + forTime + ` by ` + giver + `: a new kernel, and so for 1 more`,
				hosts: map[string]string{"one": `ordered: drained .+`, "two": `ordered: drained .+`, "three": `labels: it takes only jobs that require team=blue`},
			}}
		},
		end: func(f *whyFarm) { f.order("resume", "one", "two") },
	}, {
		name: "a job is handed back",
		begin: func(f *whyFarm) []waiting {
			id := f.submit(sleepy(requires("gpu=yes")...)...)
			f.eventually(20*time.Second, "the job runs", func() bool { return f.job(id).State == jobs.Running })
			f.order("drain", "two", "--timeout", "0", "--reason", "at once")
			return []waiting{{
				name: "handed back by a drain", id: id, then: jobs.Running, within: 20 * time.Second,
				blocker: jobs.BlockedByOrder, says: `two could run it, but: drain(ing|ed) for ` + forTime + ` by ` + giver + `: at once`,
				hosts: map[string]string{"one": `labels: gpu=yes missing`, "two": `ordered: drain.+`},
			}}
		},
		end: func(f *whyFarm) { f.order("resume", "two") },
	}, {
		name: "all are busy",
		begin: func(f *whyFarm) []waiting {
			f.busy(requires("host=one"), requires("host=one"), requires("host=two"), requires("team=blue"))
			const full = `all hosts that could run it are busy; the nearest is (one: 2 of 2|two: 1 of 1) slots busy(, about ` + forTime + `)?`
			both := map[string]string{"one": `slots: 2 of 2 slots busy.*`, "two": `slots: 1 of 1 slots busy.*`, "three": `labels: it takes only jobs that require team=blue`}
			return []waiting{
				{name: "it runs", id: f.sleepers[0], state: jobs.Running, says: `it runs on one`, then: jobs.Cancelled},
				{name: "all slots are busy", blocker: jobs.BlockedBySlots, says: full, hosts: both},
				{name: "all slots are busy, and a job is before it", blocker: jobs.BlockedBySlots, says: full + `; 1 job is before it`, hosts: both},
				{
					name: "the one that has its label is busy", args: requires("gpu=yes"), blocker: jobs.BlockedBySlots,
					says:  `all hosts that could run it are busy; the nearest is two: 1 of 1 slots busy.*`,
					hosts: map[string]string{"one": `labels: gpu=yes missing`, "two": `slots: 1 of 1 slots busy.*`},
				},
				{
					name: "the one that takes only such is busy", args: requires("team=blue"), blocker: jobs.BlockedBySlots,
					says:  `all hosts that could run it are busy; the nearest is three: 1 of 1 slots busy.*`,
					hosts: map[string]string{"three": `slots: 1 of 1 slots busy.*`, "one": `labels: team=blue missing`},
				},
			}
		},
		end: (*whyFarm).free,
	}, {
		name: "busy is nearer than cordoned",
		begin: func(f *whyFarm) []waiting {
			f.busy(requires("host=two"))
			f.order("cordon", "one")
			return []waiting{{
				name: "one host is busy, the other cordoned", blocker: jobs.BlockedBySlots,
				says:  `all hosts that could run it are busy; the nearest is two: 1 of 1 slots busy.*`,
				hosts: map[string]string{"one": `ordered: cordoned .+`, "two": `slots: .+`},
			}}
		},
		end: func(f *whyFarm) { f.order("resume", "one") },
	}, {
		name: "there is no room beside other jobs",
		begin: func(f *whyFarm) []waiting {
			f.free()
			cpus, memory := f.size()
			some, much := fmt.Sprintf("%g", 0.6*float64(cpus)), fmt.Sprint(int64(memory)/10*6)
			f.busy(append(requires("host=one"), "--cpus", some, "--memory", much))
			return []waiting{{
				name: "memory is taken though a slot is free", args: append(requires("host=one"), "--memory", much), blocker: jobs.BlockedBySlots,
				says:  `all hosts that could run it are busy; the nearest is one: \S+ of \S+ of memory are taken by jobs.*`,
				hosts: map[string]string{"one": `slots: \S+ of \S+ of memory are taken by jobs.*`, "two": `labels: .+`},
			}, {
				name: "CPUs are taken though a slot is free", args: append(requires("host=one"), "--cpus", some), blocker: jobs.BlockedBySlots,
				says:  `all hosts that could run it are busy; the nearest is one: \S+ of \d+ CPUs are taken by jobs.*`,
				hosts: map[string]string{"one": `slots: \S+ of \d+ CPUs are taken by jobs.*`},
			}, {
				name: "there is room for one without limits", args: requires("host=one"), state: jobs.Succeeded, says: `it has succeeded`, within: 20 * time.Second,
			}}
		},
		end: (*whyFarm).free,
	}, {
		name: "a host is unfit",
		begin: func(f *whyFarm) []waiting {
			f.link("bare")
			f.unfit("three", "is not this farm's")
			const unfit = `unfit: the artifact store at \S+ is not this farm's: .+`
			return []waiting{{
				name: "the one that could run it is unfit", args: requires("team=blue"), blocker: jobs.BlockedByUnfit, says: `three could run it, but: ` + unfit,
				hosts: map[string]string{"one": `labels: team=blue missing`, "three": `unfit: ` + unfit},
			}}
		},
		end: func(f *whyFarm) { f.link("store") },
	}, {
		name: "a job fails",
		begin: func(*whyFarm) []waiting {
			return []waiting{{
				name: "it has failed", args: []string{"--image", hosttest.BusyboxTag, "--", "sh", "-c", "exit 7"}, within: 20 * time.Second,
				state: jobs.Failed, says: `it ended as failed: the container ended with exit code 7; .+`, then: jobs.Failed,
			}, {
				name: "it was refused", args: []string{"cas:sha256:" + fmt.Sprintf("%064d", 0), "--", "true"}, within: 20 * time.Second,
				state: jobs.Refused, says: `it ended as refused: .+`, then: jobs.Refused,
			}}
		},
	}, {
		name: "a worker ends",
		begin: func(f *whyFarm) []waiting {
			f.busy(requires("host=two"))
			f.two.Signal(syscall.SIGTERM)
			return []waiting{{
				name: "the worker that could run it ends", args: requires("gpu=yes"), blocker: jobs.BlockedByOrder, says: `two could run it, but: its worker ends`,
				hosts: map[string]string{"one": `labels: gpu=yes missing`, "two": `ordered: its worker ends`},
			}}
		},
		end: func(f *whyFarm) {
			f.free()
			f.two.over(20 * time.Second)
			f.two.start()
		},
	}, {
		name: "workers are killed",
		begin: func(f *whyFarm) []waiting {
			f.two.Kill()
			f.three.Kill()
			silent := func(worker, needs string) waiting {
				const text = `not heard of for ` + forTime + `, though it has a free slot`
				return waiting{
					name: worker + ", which could run it, was killed", args: requires(needs), blocker: jobs.BlockedBySilence, within: missedIn,
					says: worker + ` could run it, but: ` + text, hosts: map[string]string{"one": `labels: .+`, worker: `silent: ` + text},
				}
			}
			blue := silent("three", "team=blue")
			blue.id, blue.then = f.submit(append(requires("team=blue"), "--image", hosttest.BusyboxTag, "--", "true")...), jobs.Queued
			f.left = blue.id
			return []waiting{
				silent("two", "gpu=yes"), blue,
				{name: "another goes on", state: jobs.Succeeded, says: `it has succeeded`, within: 20 * time.Second},
			}
		},
		end: func(f *whyFarm) { f.two.start() },
	}, {
		name: "no worker is left",
		begin: func(f *whyFarm) []waiting {
			f.one.stop()
			f.two.stop()
			return []waiting{{
				name: "the last one was killed", id: f.left, blocker: jobs.BlockedByNoWorker, within: 40 * time.Second,
				says:  `no worker is alive; the last, three, was heard of ` + forTime + ` ago`,
				hosts: map[string]string{"three": `silent: not heard of for ` + forTime},
			}}
		},
		end: func(f *whyFarm) { f.three.start() },
	}}
}
