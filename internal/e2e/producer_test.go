//go:build integration

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// stranger is a producer that knows asynq and nothing of the farm.
type stranger struct {
	t      *testing.T
	client *asynq.Client
}

func newStranger(f *farm) stranger {
	client := asynq.NewClient(asynq.RedisClientOpt{Network: "unix", Addr: f.redis.Socket})
	f.t.Cleanup(func() { _ = client.Close() })
	return stranger{f.t, client}
}

// push enqueues {id, spec} in the way that the documentation shows.
func (s stranger) push(id, spec string, opts ...asynq.Option) {
	s.t.Helper()
	payload := fmt.Sprintf(`{"id": %q, "spec": %s}`, id, spec)
	opts = append(opts, asynq.Queue("builds"))
	if _, err := s.client.EnqueueContext(s.t.Context(), asynq.NewTask("slipway:job", []byte(payload)), opts...); err != nil {
		s.t.Fatal(err)
	}
}

// known waits until a worker has made the job's record, then for its end.
func (f *farm) known(id string) jobs.Job {
	f.t.Helper()
	f.eventually(20*time.Second, "job "+id+" has a record", func() bool { return f.enqueue("status", id).code == 0 })
	return f.ended(id)
}

func echo(text string) string {
	return fmt.Sprintf(`{"name": "stranger", "run": {"image": %q, "command": ["echo", %q]}}`, hosttest.BusyboxTag, text)
}

func TestPlainProducer(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	s := newStranger(f)
	s.push("before-the-worker", echo("hello"))
	f.worker(hostA, "one")

	job := f.known("before-the-worker")
	if job.State != jobs.Succeeded || job.Spec.Name != "stranger" || f.enqueue("logs", job.ID).stdout != "hello\n" {
		t.Errorf("the job is %s with %+v; want succeeded with its output", job.State, job.Result)
	}
	events.startedOnce(job)

	// The farm's bell is unknown to the producer; the worker looks by itself.
	pushed := time.Now()
	s.push("after-the-worker", echo("hello"))
	if job := f.known("after-the-worker"); job.State != jobs.Succeeded || job.Started.Sub(pushed) > 10*time.Second {
		t.Errorf("the job is %s, started %s after the push", job.State, job.Started.Sub(pushed))
	}
	clean(t, hostA, before)
}

// Whatever a stranger pushes, the same ID is the same job.
func TestPlainProducerTwice(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	s := newStranger(f)
	// Two tasks at once for asynq, each with an ID of asynq's own.
	s.push("twice", echo("first"))
	s.push("twice", echo("first"))
	f.worker(hostA, "one")
	f.worker(hostA, "two")
	job := f.known("twice")
	events.startedOnce(job)
	f.endedOnce(job)

	// Once more after its end, with another document and with a broken one.
	s.push("twice", echo("second"))
	s.push("twice", `{"run": {"imagine": "busybox"}}`)
	f.drained()
	again := f.job("twice")
	if again.State != jobs.Succeeded || again.Attempt != 1 || f.enqueue("logs", "twice").stdout != "first\n" {
		t.Errorf("the job is %s at attempt %d with %+v; want it as it was", again.State, again.Attempt, again.Result)
	}
	events.startedOnce(again)
	f.endedOnce(again)
	clean(t, hostA, before)
}

// drained waits until asynq has no task left in the queue, in any state.
func (f *farm) drained() {
	f.t.Helper()
	look := asynq.NewInspector(asynq.RedisClientOpt{Network: "unix", Addr: f.redis.Socket})
	defer look.Close()
	f.eventually(30*time.Second, "the queue is empty", func() bool {
		info, err := look.GetQueueInfo("builds")
		if err != nil {
			f.t.Fatal(err)
		}
		return info.Size+info.Completed+info.Archived == 0
	})
}

// A document that cannot be taken is a job that was refused: the producer finds
// out where every reader looks.
func TestPlainProducerInvalid(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	s := newStranger(f)
	f.worker(hostA, "one")
	cases := map[string]struct{ spec, says string }{
		"unknown-field": {`{"run": {"imagine": "busybox"}}`, `/run/imagine: unknown field "imagine" (did you mean "image"?)`},
		"wrong-type":    {`{"run": {"image": 7}}`, `/run/image: found the number 7, want text`},
		"bad-value":     {`{"run": {"image": "busybox"}, "retries": 99}`, `/retries: found 99; the limit is 0 to 10`},
		"empty":         {`{}`, `nothing to do: give build, run or both`},
	}
	for id, tc := range cases {
		s.push(id, tc.spec)
	}
	for id, tc := range cases {
		job := f.known(id)
		if job.State != jobs.Refused || job.Result.Failure == nil || job.Result.Failure.Kind != jobs.KindSpecInvalid {
			t.Errorf("job %s is %s with %+v; want it refused as spec_invalid", id, job.State, job.Result)
		}
		if a := f.enqueue("status", id); a.code != 0 || !strings.Contains(a.stdout, tc.says) {
			t.Errorf("status of %s: exit code %d, want %q in it\n%s%s", id, a.code, tc.says, a.stdout, a.stderr)
		}
		if a := f.enqueue("wait", id); a.code != jobs.ExitUsage {
			t.Errorf("wait for %s: exit code %d, want %d", id, a.code, jobs.ExitUsage)
		}
		f.endedOnce(job)
	}
	clean(t, hostA, before)
}

// What a producer's script does: push, and wait at once, whatever it asked of asynq.
func TestPlainProducerWaits(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	s := newStranger(f)
	w := f.worker(hostA, "one")
	past := asynq.Deadline(time.Now().Add(-time.Second))
	s.push("nightly-1", echo("hello"), asynq.MaxRetry(0))
	if a := f.enqueue("wait", "nightly-1"); a.code != jobs.ExitOK {
		t.Errorf("wait: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	s.push("past", echo("hello"), past)
	s.push("past-once", echo("hello"), past, asynq.MaxRetry(0))
	s.push("Bad_ID", echo("hello"))
	if a := f.enqueue("wait", "past", "past-once"); a.code != jobs.ExitTimeout || strings.Count(a.stdout, "expired") != 2 {
		t.Errorf("wait for two that are too late: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	var list struct{ Jobs []jobs.Job }
	f.eventually(20*time.Second, "the job without an ID is known", func() bool {
		a := f.enqueue("ls", "--state", "refused", "-o", "json")
		return json.Unmarshal([]byte(a.stdout), &list) == nil && len(list.Jobs) == 1
	})
	if job := list.Jobs[0]; !strings.HasPrefix(job.ID, "refused-bad-id-") || !strings.Contains(job.Result.Failure.Message, `"Bad_ID"`) {
		t.Errorf("the refused job is %s with %+v; want it to name the ID", job.ID, job.Result)
	}
	if n := strings.Count(w.Output(), "job that cannot run"); n != 3 {
		t.Errorf("the worker's log tells %d times of a job that cannot be run, want 3:\n%s", n, w.Output())
	}
	clean(t, hostA, before)
}

// An operator pauses the queue in asynq, and forgets.
func TestPausedQueue(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	w := f.worker(hostA, "one")
	look := asynq.NewInspector(asynq.RedisClientOpt{Network: "unix", Addr: f.redis.Socket})
	defer look.Close()
	if err := look.PauseQueue("builds"); err != nil {
		t.Fatal(err)
	}
	const line = "queue builds is paused in asynq since 20"
	var a answer
	submitted := make(chan struct{})
	go func() {
		defer close(submitted)
		a = f.enqueue("submit", "--image", hosttest.BusyboxTag, "--", "echo", "hi")
	}()
	f.eventually(20*time.Second, "the worker tells of the pause", func() bool { return strings.Contains(w.Output(), "queue paused in asynq") })
	var id string
	f.eventually(20*time.Second, "the job is there", func() bool { id = strings.TrimSpace(f.enqueue("ls", "-o", "name").stdout); return id != "" })
	for _, args := range [][]string{{"status", id}, {"hosts"}} {
		if a := f.enqueue(args...); !strings.Contains(a.stdout, line) || !strings.Contains(a.stdout, "enqueue queues resume builds") {
			t.Errorf("%q says nothing of the pause:\n%s", args, a.stdout)
		}
	}
	<-time.After(3 * time.Second) // the time within which submit says it
	if err := look.UnpauseQueue("builds"); err != nil {
		t.Fatal(err)
	}
	<-submitted
	if a.code != 0 || a.stdout != "hi\n" || strings.Count(a.stderr, line) != 1 {
		t.Errorf("submit: exit code %d, stdout %q; want it to end well, and one line about the pause\n%s", a.code, a.stdout, a.stderr)
	}
	f.eventually(20*time.Second, "the worker tells of its end", func() bool { return strings.Contains(w.Output(), "queue resumed in asynq") })
	clean(t, hostA, before)
}

// A good job does not pay for a bad task that bears its ID.
func TestPlainProducerCannotSpoilAJob(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	id := f.submit("--image", hosttest.BusyboxTag, "--priority", "low", "--", "echo", "unharmed")
	newStranger(f).push(id, `{"run": {"imagine": "busybox"}}`)
	f.worker(hostA, "one", "--slots", "1")
	if job := f.ended(id); job.State != jobs.Succeeded || f.enqueue("logs", id).stdout != "unharmed\n" {
		t.Errorf("the job is %s with %+v; want succeeded", job.State, job.Result)
	}
	clean(t, hostA, before)
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	events := watch(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	args := []string{"--idempotency-key", "order 7", "--image", hosttest.BusyboxTag, "--", "echo"}
	id := f.submit(append(args, "hello")...)
	if again := f.submit(append(args, "hello")...); again != id {
		t.Errorf("the same key and document made job %s, want %s", again, id)
	}
	job := f.ended(id)
	if again := f.submit(append(args, "hello")...); again != id {
		t.Errorf("the same key and document made job %s after the end of %s", again, id)
	}

	a := f.enqueue(append([]string{"submit", "-d", "-q"}, append(args, "goodbye")...)...)
	lines := strings.Split(strings.TrimSpace(a.stderr), "\n")
	if a.code != jobs.ExitUsage || a.stdout != "" || !strings.Contains(lines[0], "order 7") || !strings.Contains(lines[0], id) {
		t.Errorf("the same key with another document: exit code %d, stdout %q\n%s\nwant exit code 2 and a first line with the key and the job", a.code, a.stdout, a.stderr)
	}

	// In a batch it is the same, line by line.
	batch := filepath.Join(t.TempDir(), "batch.jsonl")
	var docs strings.Builder
	for _, word := range []string{"hello", "goodbye"} {
		doc, err := json.Marshal(jobs.Spec{IdempotencyKey: "order 7", Run: &jobs.Run{Image: hosttest.BusyboxTag, Command: []string{"echo", word}}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&docs, "%s\n", doc)
	}
	if err := os.WriteFile(batch, []byte(docs.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := f.enqueue("submit", "--batch", batch); a.code != jobs.ExitUsage || a.stdout != id+"\n" || !strings.Contains(a.stderr, "line 2:") {
		t.Errorf("batch: exit code %d, stdout %q\n%s\nwant the job there already, and line 2 refused", a.code, a.stdout, a.stderr)
	}
	events.startedOnce(job)
	if ids := strings.Fields(f.enqueue("ls", "-o", "name").stdout); len(ids) != 1 {
		t.Errorf("the farm has jobs %v, want one", ids)
	}
	clean(t, hostA, before)
}
