//go:build integration

package e2e_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const (
	// pausedIn is how soon a pause has to be obeyed.
	pausedIn = 2 * time.Second
	// stillIn is more than an idle worker needs to find a ticket without a bell.
	stillIn = 6 * time.Second
)

// brief is a job with these flags that takes a moment.
func brief(flags ...string) []string {
	return append(slices.Clone(flags), "--image", hosttest.BusyboxTag, "--", "sleep", "0.3")
}

// waits fails the test unless the jobs wait because of a pause, and says so of each.
func (f *farm) waits(when string, ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		if a := f.enqueue("status", id); !strings.Contains(a.stdout, string(jobs.Queued)) || !strings.Contains(a.stdout, "is paused") {
			f.t.Errorf("%s job %s should wait for the end of the pause:\n%s", when, id, a.stdout)
		}
	}
}

// succeed waits until the jobs have succeeded.
func (f *farm) succeed(ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		if job := f.ended(id); job.State != jobs.Succeeded {
			f.t.Errorf("job %s is %s with %+v", id, job.State, job.Result)
		}
	}
}

// A pause is obeyed within two seconds, while there is much to do, and holds when Redis or
// workers start again, until it is ended.
func TestQueueIsPaused(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one", "--slots", "1", "--label", "disk=ssd")
	var ids []string
	for i := range 12 {
		flags := [][]string{{"--name", "web"}, {"--requires", "disk=ssd"}, {"--name", "web", "--requires", "disk=ssd"}}[i%3]
		ids = append(ids, f.submit(brief(flags...)...))
	}
	f.ended(ids[0])
	f.queues("pause", "builds", "--reason", "the registry moves")
	obeyed := time.Now().Add(pausedIn)
	<-time.After(pausedIn + stillIn)
	var held []string
	for _, id := range ids {
		switch job := f.job(id); {
		case job.State == jobs.Queued:
			held = append(held, id)
		case job.Claimed.After(obeyed):
			t.Errorf("job %s was taken %s after the pause", id, job.Claimed.Sub(obeyed)+pausedIn)
		}
	}
	if len(held) < 3 {
		t.Fatalf("%d jobs are left; want some that wait", len(held))
	}
	f.waits("after a while", held...)
	f.must(f.redis.Kill())
	f.must(f.redis.Start())
	w.Kill()
	w.start()
	held = append(held, f.submit(brief("--name", "late")...))
	<-time.After(stillIn)
	f.waits("after new starts of Redis and the worker,", held...)
	if got := f.queues("ls"); !regexp.MustCompile(`queue builds is paused since .* by \S+@\S+: the registry moves; resume it with: enqueue queues resume builds`).MatchString(got) {
		t.Errorf("queues ls says\n%s\nwant the pause with its reason", got)
	}
	if got := f.queues("resume", "builds"); got != "resumed builds\n" {
		t.Errorf("resume says %q", got)
	}
	f.succeed(held...)
	if got := f.queues("resume", "builds"); !strings.Contains(got, "nothing was paused") {
		t.Errorf("resume says %q when nothing is paused", got)
	}
	clean(t, hostA, before)
}

// A pause that was made with asynq's tools holds for tickets in all lanes of the queue: of
// each name, and each kind of host; and for no other priority.
func TestQueueIsPausedInAsynq(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--label", "disk=ssd")
	f.succeed(f.submit(brief("--name", "web", "--requires", "disk=ssd")...)) // the lane is known
	look := asynq.NewInspector(asynq.RedisClientOpt{Network: "unix", Addr: f.redis.Socket})
	defer look.Close()
	f.must(look.PauseQueue("builds"))
	<-time.After(pausedIn)
	held := []string{
		f.submit(brief()...), f.submit(brief("--name", "web")...), f.submit(brief("--requires", "disk=ssd")...),
		f.submit(brief("--name", "web", "--requires", "disk=ssd")...), f.submit(brief("--name", "new", "--cpus", "1")...),
	}
	newStranger(f).push("stranger", echo("hello"))
	f.succeed(f.submit(brief("--priority", "high", "--name", "web")...))
	<-time.After(stillIn)
	f.waits("paused in asynq,", held...)
	if a := f.enqueue("status", "stranger"); a.code == 0 && !strings.Contains(a.stdout, "is paused") {
		t.Errorf("the stranger's job should wait:\n%s", a.stdout)
	}
	f.must(look.UnpauseQueue("builds"))
	f.succeed(held...)
	if job := f.known("stranger"); job.State != jobs.Succeeded {
		t.Errorf("the stranger's job is %s", job.State)
	}
	clean(t, hostA, before)
}
