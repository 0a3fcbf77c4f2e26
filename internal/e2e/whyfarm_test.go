//go:build integration

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	// toldIn is how old may be what people are told, and what some runs of the command line
	// take on a busy machine.
	toldIn = 6 * time.Second
	// missedIn is how soon a host counts as silent that a job waits for.
	missedIn = 16 * time.Second
	// turnFor is how long a job may be about to be taken: the host that would take it may
	// be one that was just killed.
	turnFor = missedIn
)

// waiting is a job in a situation, and what its owner is told.
type waiting struct {
	name string
	// args submit the job; without a command it runs true. id is one that is there.
	args []string
	id   string
	// first is the verb that looks at the job first, once its queue timeout is over. The job
	// is submitted no sooner than that is to be seen: others would look at it, too.
	first string
	// state is queued when "". blocker is that of a job which waits.
	state   jobs.State
	blocker jobs.Blocker
	// says matches the whole sentence; hosts match what keeps the job from each host, by
	// the names of workers, as "blocker: text".
	says  string
	hosts map[string]string
	// within is how long it may take until that is told, toldIn when 0.
	within time.Duration
	// then is how the job ends when the situation is over, succeeded when "". One that needs
	// what the farm never has is cancelled; so is one that runs for long, once it runs. One
	// that is left queued waits in the next scene, too.
	then jobs.State
}

// submit submits the job, unless it is there.
func (r *waiting) submit(f *farm) {
	f.t.Helper()
	if r.id != "" || r.first != "" {
		return
	}
	args := slices.Clone(r.args)
	if !slices.Contains(args, "--") {
		args = append(args, "--image", hosttest.BusyboxTag, "--", "true")
	}
	r.id = f.submit(args...)
}

// check waits until every verb tells of the job what it should.
func (r *waiting) check(f *farm) {
	f.t.Helper()
	within := r.within
	if within == 0 {
		within = toldIn
	}
	if r.first != "" {
		r.lookFirst(f)
	}
	began := time.Now()
	last := r.told(f)
	for last != nil && time.Since(began) < within {
		<-time.After(100 * time.Millisecond)
		last = r.told(f)
	}
	if last != nil {
		f.t.Errorf("%s: after %s: %v", r.name, time.Since(began).Round(time.Millisecond), last)
	}
}

// lookFirst submits the job, and has one verb look at it after its queue timeout.
func (r *waiting) lookFirst(f *farm) {
	f.t.Helper()
	r.id = f.submit(append(slices.Clone(r.args), "--image", hosttest.BusyboxTag, "--", "true")...)
	job, err := f.records().Get(f.t.Context(), r.id) // it ends no job
	if err != nil || job.Expires.IsZero() {
		f.t.Fatalf("job %s expires at %s: %v; want a queue timeout", r.id, job.Expires, err)
	}
	<-time.After(time.Until(job.Expires) + 100*time.Millisecond)
	args := []string{r.first, r.id}
	if r.first == "ls" {
		args = args[:1]
	}
	if a := f.enqueue(args...); !strings.Contains(a.stdout+a.stderr, string(jobs.Expired)) {
		f.t.Errorf("%s: %q says nothing of its end:\n%s%s", r.name, args, a.stdout, a.stderr)
	}
}

// told is what is wrong with what people are told of the job, nil when nothing is.
func (r waiting) told(f *farm) error {
	f.t.Helper()
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	a := f.enqueue("why", r.id, "-o", "json")
	var w jobs.Why
	if err := json.Unmarshal([]byte(a.stdout), &w); err != nil {
		f.t.Fatalf("why %s: %v (exit code %d)\n%s%s", r.id, err, a.code, a.stdout, a.stderr)
	}
	state := r.state
	if state == "" {
		state = jobs.Queued
	}
	if w.State != state || w.Blocker != r.blocker {
		wrong("why says %s, blocker %q; want %s, %q", w.State, w.Blocker, state, r.blocker)
	}
	if !whole(r.says, w.Text) {
		wrong("why says %q; want %q", w.Text, r.says)
	}
	for worker, want := range r.hosts {
		at := slices.IndexFunc(w.Hosts, func(h jobs.HostWhy) bool { return h.Worker == worker || h.Host == worker })
		if at < 0 {
			wrong("why says nothing of %s", worker)
		} else if got := string(w.Hosts[at].Blocker) + ": " + w.Hosts[at].Text; !whole(want, got) {
			wrong("why says of %s %q; want %q", worker, got, want)
		}
	}
	status := f.enqueue("status", r.id).stdout
	if r.blocker != "" && !regexp.MustCompile(`(?m)^  waits +(?:`+r.says+`)$`).MatchString(status) || !strings.Contains(status, string(state)) {
		wrong("status says\n%s\nwant %s, and %q", status, state, r.says)
	}
	for line := range strings.Lines(f.enqueue("ls", "--limit", "200").stdout) {
		if word := fmt.Sprintf(" %s ", r.blocker); strings.HasPrefix(line, r.id) && (!strings.Contains(line, string(state)) || r.blocker != "" && !strings.Contains(line, word)) {
			wrong("ls says %q; want %s, %q", line, state, r.blocker)
		}
	}
	return errors.Join(errs...)
}

// whole reports whether a pattern matches the whole of a text.
func whole(pattern, text string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(text)
}

// over has the job end as it should once nothing keeps it.
func (r waiting) over(f *farm) {
	f.t.Helper()
	want := r.then
	switch want {
	case "":
		want = jobs.Succeeded
	case jobs.Queued:
		return
	case jobs.Running:
		f.eventually(20*time.Second, r.name+": it runs", func() bool { return f.job(r.id).State == jobs.Running })
		f.cancel(r.id)
		want = jobs.Cancelled
	case jobs.Cancelled:
		_ = f.enqueue("cancel", r.id) // it may be already
	}
	if job := f.ended(r.id); job.State != want {
		f.t.Errorf("%s: it ended as %s with %+v; want %s", r.name, job.State, job.Result, want)
	}
}

// whyFarm is a farm of three workers on one host. one is an ordinary one, two has labels
// and a queue of its own, three takes only jobs that ask for it, and finds the store by a
// link.
type whyFarm struct {
	*farm
	// all is the farm for what outlives a scene.
	all             *farm
	host            *hosttest.Host
	one, two, three *workerProcess
	asynq           *asynq.Inspector
	// sleepers are jobs that run for long, left is one that waits for another scene.
	sleepers []string
	left     string
}

func newWhyFarm(t *testing.T, host *hosttest.Host) *whyFarm {
	t.Helper()
	f := newFarm(t)
	w := &whyFarm{farm: f, all: f, host: host, asynq: asynq.NewInspector(asynq.RedisClientOpt{Network: "unix", Addr: f.redis.Socket})}
	t.Cleanup(func() { _ = w.asynq.Close() })
	if err := os.Mkdir(filepath.Join(f.dir, "bare"), 0o750); err != nil {
		t.Fatal(err)
	}
	w.link("store")
	return w
}

func (f *whyFarm) startOne() {
	f.one = f.all.worker(f.host, "one", "--slots", "2", "--queues", "builds,docs", "--label", "disk=ssd")
}

func (f *whyFarm) startTwo() {
	f.two = f.all.worker(f.host, "two", "--slots", "1", "--queues", "builds,maps", "--label", "gpu=yes", "--label", "zone=b", "--label", "disk=hdd")
}

func (f *whyFarm) startThree() {
	f.three = f.all.worker(f.host, "three", "--slots", "1", "--only-label", "team=blue", "--store", f.linked(), "--lease", "6s")
}

// linked is the path of three's link to the store.
func (f *whyFarm) linked() string { return filepath.Join(f.dir, "link") }

// link points three's link to a directory.
func (f *whyFarm) link(to string) {
	f.t.Helper()
	_ = os.Remove(f.linked()) // it may not be there yet
	if err := os.Symlink(filepath.Join(f.dir, to), f.linked()); err != nil {
		f.t.Fatal(err)
	}
}

// queues runs enqueue queues with these arguments.
func (f *farm) queues(args ...string) string {
	f.t.Helper()
	a := f.enqueue(append([]string{"queues"}, args...)...)
	if a.code != 0 {
		f.t.Fatalf("queues %q: exit code %d\n%s", args, a.code, a.stderr)
	}
	return a.stdout
}

// must fails the test.
func (f *farm) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// sleepy is a job with these flags that runs for long.
func sleepy(flags ...string) []string {
	return append(slices.Clone(flags), "--init", "--image", hosttest.BusyboxTag, "--", "sleep", "300")
}

// busy has jobs at work that run for long, one for each list of flags.
func (f *whyFarm) busy(flags ...[]string) {
	f.t.Helper()
	for _, fl := range flags {
		f.sleepers = append(f.sleepers, f.submit(sleepy(fl...)...))
	}
	for _, id := range f.sleepers {
		f.eventually(20*time.Second, "job "+id+" runs", func() bool { return f.job(id).State == jobs.Running })
	}
}

// free ends what busy began.
func (f *whyFarm) free() {
	f.t.Helper()
	for _, id := range f.sleepers {
		f.cancel(id)
	}
	f.sleepers = nil
}

// size is how many CPUs and how much memory the hosts have.
func (f *whyFarm) size() (cpus int, memory jobs.Bytes) {
	f.t.Helper()
	var h jobs.Host
	f.eventually(3*time.Second, "the farm knows how large the host is", func() bool {
		h = f.becomes("one", jobs.HostReady, toldIn)
		return h.CPUs > 0 && h.Memory > 0
	})
	return h.CPUs, h.Memory
}

// whyWatch asks all the time why the jobs wait that do.
type whyWatch struct {
	cancel context.CancelFunc
	ended  chan struct{}
	// the rest is the watch's until it has ended
	env   []string
	looks int
	bad   []string
	turn  map[string]time.Time // since when a job is about to be taken
}

func watchWhy(f *farm) *whyWatch {
	ctx, cancel := context.WithCancel(f.t.Context())
	w := &whyWatch{cancel: cancel, ended: make(chan struct{}), env: f.env(), turn: map[string]time.Time{}}
	go func() {
		defer close(w.ended)
		for ctx.Err() == nil {
			w.look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(600 * time.Millisecond):
			}
		}
	}()
	f.t.Cleanup(func() { w.stop() })
	return w
}

// stop ends the watch and returns how often it looked, and what was wrong.
func (w *whyWatch) stop() (looks int, bad []string) {
	w.cancel()
	<-w.ended
	return w.looks, w.bad
}

func (w *whyWatch) run(ctx context.Context, args ...string) (string, bool) {
	cmd := exec.CommandContext(ctx, filepath.Join(bins, "enqueue"), args...)
	cmd.Env = w.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && ctx.Err() == nil {
		w.bad = append(w.bad, fmt.Sprintf("enqueue %q: %v\n%s", args, err, stderr.String()))
	}
	return string(out), err == nil
}

func (w *whyWatch) look(ctx context.Context) {
	out, ok := w.run(ctx, "ls", "--state", "queued,waiting", "--limit", "200", "-o", "name")
	ids := strings.Fields(out)
	if !ok || len(ids) == 0 {
		return
	}
	if out, ok = w.run(ctx, append([]string{"why", "-o", "jsonl"}, ids...)...); !ok {
		return
	}
	w.looks++
	turn := map[string]time.Time{}
	for line := range strings.Lines(out) {
		var why jobs.Why
		if err := json.Unmarshal([]byte(line), &why); err != nil {
			w.bad = append(w.bad, fmt.Sprintf("why: %v\n%s", err, line))
			continue
		}
		waits := why.State == jobs.Queued || why.State == jobs.Waiting
		empty := slices.ContainsFunc(why.Hosts, func(h jobs.HostWhy) bool { return h.Blocker == "" || h.Text == "" })
		if why.Text == "" || empty || waits && why.Blocker == "" {
			w.bad = append(w.bad, "why gives no reason: "+line)
		}
		if why.Blocker != jobs.BlockedByTurn {
			continue
		}
		since, was := w.turn[why.ID]
		if !was {
			since = time.Now()
		}
		if turn[why.ID] = since; time.Since(since) > turnFor {
			w.bad = append(w.bad, fmt.Sprintf("it has been a job's turn for %s: %s", time.Since(since).Round(time.Second), line))
		}
	}
	w.turn = turn
}
