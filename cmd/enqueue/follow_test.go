package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// buffer is a writer that a test reads while others write.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestInterrupt: the first Ctrl-C detaches, a second in time cancels.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		args    []string
		signals []os.Signal
		// apart is the time between the signals.
		apart  time.Duration
		code   int
		state  jobs.State
		stderr string
	}{
		{name: "detach", signals: []os.Signal{os.Interrupt}, code: jobs.ExitDetached, state: jobs.Running, stderr: "job continues: enqueue logs -f job-00000001\n"},
		{name: "sigterm", signals: []os.Signal{syscall.SIGTERM}, code: jobs.ExitDetached, state: jobs.Running, stderr: "job continues: enqueue logs -f job-00000001\n"},
		{name: "cancel", signals: []os.Signal{os.Interrupt, os.Interrupt}, apart: time.Second, code: jobs.ExitCancelled, state: jobs.Cancelled, stderr: "⊘ cancelled"},
		{name: "too late", signals: []os.Signal{os.Interrupt, os.Interrupt}, apart: 3 * time.Second, code: jobs.ExitDetached, state: jobs.Running},
		{name: "in ci", args: []string{"--cancel-on-interrupt"}, signals: []os.Signal{os.Interrupt}, code: jobs.ExitCancelled, state: jobs.Cancelled, stderr: "cancelling job-00000001"},
		{name: "in ci, sigterm", args: []string{"--cancel-on-interrupt"}, signals: []os.Signal{syscall.SIGTERM}, code: jobs.ExitCancelled, state: jobs.Cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				f, err := newFarm(t, dir, farmOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer f.close()
				var stdout, stderr buffer
				interrupts := make(chan os.Signal, 4)
				code := make(chan int, 1)
				go func() {
					a := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, interrupts: interrupts})
					code <- a.run(t.Context(), append(append([]string{"submit"}, tt.args...), "--image", "a", "--", "hang"))
				}()
				synctest.Wait()
				if !strings.Contains(stdout.String(), "hanging\n") {
					t.Fatalf("the job does not hang: %q %q", stdout.String(), stderr.String())
				}
				for _, sig := range tt.signals {
					interrupts <- sig
					time.Sleep(tt.apart) // in the bubble's time
				}
				if got := <-code; got != tt.code {
					t.Errorf("exit code %d, want %d", got, tt.code)
				}
				job, err := f.svc.Get(t.Context(), "job-00000001")
				if err != nil || job.State != tt.state {
					t.Errorf("job is %s (%v), want %s", job.State, err, tt.state)
				}
				if !strings.Contains(stderr.String(), tt.stderr) {
					t.Errorf("stderr %q, want %q", stderr.String(), tt.stderr)
				}
			})
		})
	}
}

func noEnv(string) string { return "" }

// feed is a job whose owner is the test.
type feed struct {
	*farm
	id     string
	offset int64
	log    []byte
	try    int
}

func newFeed(t *testing.T, f *farm) *feed {
	t.Helper()
	sub, err := f.svc.Submit(t.Context(), jobs.Spec{Run: &jobs.Run{Image: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	fd := &feed{farm: f, id: sub.ID}
	fd.claim(t)
	return fd
}

func (f *feed) claim(t *testing.T) {
	t.Helper()
	job, err := f.mem.Claim(t.Context(), jobs.Ticket{ID: f.id}, jobs.Owner{Worker: "w1", Host: "h1", Nonce: "n", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f.try, f.offset, f.log = job.Attempt, 0, nil
}

// write appends output to the log; a lost one never reaches the live tail.
func (f *feed) write(t *testing.T, text string, lost bool) {
	t.Helper()
	f.frame(t, jobs.Stdout, []byte(text), lost)
}

// status appends what BuildKit says.
func (f *feed) status(t *testing.T, s client.SolveStatus) {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	f.frame(t, jobs.BuildStatus, raw, false)
}

// stage tells the job's events that a stage begins.
func (f *feed) stage(t *testing.T, s jobs.Stage) {
	t.Helper()
	if err := f.mem.Note(t.Context(), f.id, "n", jobs.Progress{Stage: s}); err != nil {
		t.Fatal(err)
	}
}

func (f *feed) frame(t *testing.T, s jobs.Stream, data []byte, lost bool) {
	t.Helper()
	raw := jobs.AppendFrame(nil, jobs.Frame{Stream: s, At: time.Unix(1, 0), Data: data})
	f.log = append(f.log, raw...)
	if !lost {
		c := jobs.LogChunk{Attempt: f.try, Offset: f.offset, Data: raw}
		if err := f.mem.AppendLog(t.Context(), f.id, "n", c); err != nil {
			t.Fatal(err)
		}
	}
	f.offset += int64(len(raw))
}

func (f *feed) finish(t *testing.T, stored bool) {
	t.Helper()
	res := jobs.Result{State: jobs.Succeeded, Attempt: f.try, Log: jobs.LogInfo{
		Digest: "sha256:" + strings.Repeat("0", 64), Size: int64(len(f.log)),
	}}
	if stored {
		blob, err := artifacts.NewBlobs(f.store, "").Write(t.Context(), bytes.NewReader(f.log))
		if err != nil {
			t.Fatal(err)
		}
		res.Log.Digest = blob.Digest
	}
	if err := f.mem.Finish(t.Context(), f.id, "n", res); err != nil {
		t.Fatal(err)
	}
}

// follower shows the feed's job to out and errs.
func (f *feed) follower(out, errs *buffer) *follower {
	a := f.app(process{getenv: noEnv, stdout: out, stderr: errs})
	return &follower{
		svc: f.svc, store: func(context.Context) (*artifacts.Blobs, error) { return artifacts.NewBlobs(f.farm.store, ""), nil },
		view: a.newView(progressui.PlainMode, false, false), id: f.id,
		why: func(context.Context, jobs.Job) jobs.Why { return jobs.Why{} },
	}
}

func TestFollowGaps(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		play    func(t *testing.T, f *feed)
		out     string
		errs    string
		without string
	}{
		{
			name: "no gap",
			play: func(t *testing.T, f *feed) {
				f.write(t, "one ", false)
				f.write(t, "two", false)
				f.finish(t, true)
			},
			out: "one two", without: "gap",
		},
		{
			name: "filled from the store",
			play: func(t *testing.T, f *feed) {
				f.write(t, "one ", true)
				f.write(t, "two ", false)
				f.write(t, "three ", true)
				f.write(t, "four ", false)
				f.write(t, "five", true)
				f.finish(t, true)
			},
			out: "one two three four five", without: "gap",
		},
		{
			name: "marked when the store does not have it",
			play: func(t *testing.T, f *feed) {
				f.write(t, "one ", true)
				f.write(t, "two", false)
				f.finish(t, false)
			},
			out: "two", errs: "[gap: 17 bytes]: open the stored log: ",
		},
		{
			name: "a new attempt starts anew",
			play: func(t *testing.T, f *feed) {
				f.write(t, "first ", false)
				if _, err := f.mem.Release(t.Context(), f.id, "n", jobs.Release{Reason: "worker went away", Spend: jobs.SpendLoss}); err != nil {
					t.Fatal(err)
				}
				f.claim(t)
				f.write(t, "second", false)
				f.finish(t, true)
			},
			out: "first second", errs: "attempt 2\n",
		},
		{
			name: "nothing in the live tail",
			play: func(t *testing.T, f *feed) {
				f.write(t, "only stored", true)
				f.finish(t, true)
			},
			out: "only stored", without: "gap",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFeed(t, startFarm(t, farmOptions{paused: true}))
			tt.play(t, f)
			var out, errs buffer
			job, err := f.follower(&out, &errs).run(t.Context())
			if err != nil || job.State != jobs.Succeeded {
				t.Fatalf("run: %s, %v", job.State, err)
			}
			if out.String() != tt.out {
				t.Errorf("stdout %q, want %q", out.String(), tt.out)
			}
			if !strings.Contains(errs.String(), tt.errs) || tt.without != "" && strings.Contains(errs.String(), tt.without) {
				t.Errorf("stderr %q, want %q without %q", errs.String(), tt.errs, tt.without)
			}
		})
	}
}

// TestFollowRunningGap: while the job runs nothing can fill a gap.
func TestFollowRunningGap(t *testing.T) {
	t.Parallel()
	f := startFarm(t, farmOptions{paused: true})
	synctest.Test(t, func(t *testing.T) {
		g, err := newFarm(t, f.dir, farmOptions{paused: true})
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		fd := newFeed(t, g)
		fd.write(t, "one ", true)
		fd.write(t, "two ", false)
		var out, errs buffer
		fw := fd.follower(&out, &errs)
		done := make(chan error, 1)
		go func() {
			_, err := fw.run(t.Context())
			done <- err
		}()
		synctest.Wait()
		fd.write(t, "three", false)
		fd.finish(t, true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if out.String() != "two three" || !strings.Contains(errs.String(), "[gap: 17 bytes]\n") {
			t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
		}
	})
}

// TestFollowWhole: who pipes the output gets all of it, late where it must be.
func TestFollowWhole(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"one two three": true, "one ": false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			g, err := newFarm(t, dir, farmOptions{paused: true})
			if err != nil {
				t.Fatal(err)
			}
			defer g.close()
			fd := newFeed(t, g)
			var out, errs buffer
			fw := fd.follower(&out, &errs)
			fw.whole = true
			done := make(chan error, 1)
			go func() {
				_, err := fw.run(t.Context())
				done <- err
			}()
			fd.stage(t, jobs.StageRun)
			fd.write(t, "one ", false)
			synctest.Wait()
			fd.write(t, "two ", true)
			fd.write(t, "three", false)
			synctest.Wait()
			if out.String() != "one " || !strings.Contains(errs.String(), "follows when the job has ended") {
				t.Errorf("while it runs: stdout %q, stderr %q", out.String(), errs.String())
			}
			fd.finish(t, stored)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if gap := strings.Contains(errs.String(), "[gap: "); out.String() != name || gap == stored {
				t.Errorf("stored %t: stdout %q, stderr %q", stored, out.String(), errs.String())
			}
		})
	}
}

// TestFollowLateBuildLog: the log comes after the event of the next stage; the
// build's display must still be the same one.
func TestFollowLateBuildLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g, err := newFarm(t, dir, farmOptions{paused: true})
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		fd := newFeed(t, g)
		var out, errs buffer
		fw := fd.follower(&out, &errs)
		done := make(chan error, 1)
		go func() {
			_, err := fw.run(t.Context())
			done <- err
		}()
		status := buildStatus("[1/2] FROM a", "[2/2] RUN make")
		for i, s := range status {
			if i == len(status)-2 {
				fd.stage(t, jobs.StageRun)
			}
			fd.status(t, s)
			synctest.Wait()
		}
		time.Sleep(2 * settle) // in the bubble's time
		if got := errs.String(); !strings.Contains(got, "made it\n#2 DONE 1.0s\n") {
			t.Errorf("the display is not closed when the build is over: %q", got)
		}
		fd.write(t, "of the run", false)
		fd.finish(t, true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if strings.Contains(errs.String(), "#1 [2/2]") || strings.Count(errs.String(), "#2 [2/2] RUN make") != 1 || out.String() != "of the run" {
			t.Errorf("stdout %q, stderr %q; want two steps numbered 1 and 2", out.String(), errs.String())
		}
	})
}

// TestFollowOutage: Redis may go away for a while, and not for good.
func TestFollowOutage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, back := range map[string]bool{"comes back": true, "stays away": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := newFarm(t, dir, farmOptions{paused: true})
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				fd := newFeed(t, g)
				var out, errs buffer
				fw := fd.follower(&out, &errs)
				done := make(chan error, 1)
				go func() {
					_, err := fw.run(t.Context())
					done <- err
				}()
				synctest.Wait()
				g.mem.Break(jobs.ErrUnreachable)
				time.Sleep(30 * time.Second) // in the bubble's time
				if back {
					g.mem.Break(nil)
					fd.write(t, "still here", false)
					fd.finish(t, true)
				}
				err = <-done
				if back && (err != nil || out.String() != "still here") || !back && err == nil {
					t.Errorf("run: %v, stdout %q", err, out.String())
				}
				if n := strings.Count(errs.String(), "lost the farm's Redis"); n != 1 {
					t.Errorf("told %d times: %q", n, errs.String())
				}
			})
		})
	}
}

// TestDisplaySurvives: status frames come from builds; none may end the
// program or hide the output after it.
func TestDisplaySurvives(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "null", "{", `{"vertexes":[null]}`, `{"logs":[null,{"vertex":"sha256:x","data":"aGk="}]}`,
		`{"statuses":[{"id":"x","vertex":"nope"}]}`, `{"warnings":[{"short":"aGk="}]}`,
		`{"vertexes":[{"digest":"d","name":"n","started":"2026-01-01T00:00:00Z","progressGroup":{}}]}`,
	} {
		var out, errs buffer
		a := newApp(process{getenv: noEnv, stdout: &out, stderr: &errs})
		v := a.newView(progressui.PlainMode, false, false)
		v.frame(jobs.Frame{Stream: jobs.BuildStatus, Data: []byte(raw)})
		for _, s := range buildStatus("step") {
			good, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			v.frame(jobs.Frame{Stream: jobs.BuildStatus, Data: good})
		}
		v.frame(jobs.Frame{Stream: jobs.Stdout, Data: []byte("after")})
		v.close()
		if out.String() != "after" {
			t.Errorf("%s: stdout %q", raw, out.String())
		}
	}
}

func TestExitOf(t *testing.T) {
	t.Parallel()
	seven := 7
	for name, tt := range map[string]struct {
		job     jobs.Job
		fromRun bool
		want    int
	}{
		"succeeded":               {jobs.Job{State: jobs.Succeeded, Result: &jobs.Result{State: jobs.Succeeded}}, false, 0},
		"cancelled without why":   {jobs.Job{State: jobs.Cancelled, Result: &jobs.Result{State: jobs.Cancelled}}, false, 5},
		"expired in the queue":    {jobs.Job{State: jobs.Expired}, false, 6},
		"refused":                 {jobs.Job{State: jobs.Refused}, false, 2},
		"running":                 {jobs.Job{State: jobs.Running}, false, 8},
		"container's code":        {jobs.Job{State: jobs.Failed, Result: &jobs.Result{ExitCode: &seven, Failure: &jobs.Failure{Kind: jobs.KindExitNonzero}}}, true, 7},
		"not asked for":           {jobs.Job{State: jobs.Failed, Result: &jobs.Result{ExitCode: &seven, Failure: &jobs.Failure{Kind: jobs.KindExitNonzero}}}, false, 1},
		"no container, queue":     {jobs.Job{State: jobs.Expired, Result: &jobs.Result{Failure: &jobs.Failure{Kind: jobs.KindQueueTimeout}}}, true, 6},
		"a kind from the future?": {jobs.Job{State: jobs.Failed, Result: &jobs.Result{Failure: &jobs.Failure{Kind: "new"}}}, false, 3},
	} {
		if got := exitOf(tt.job, tt.fromRun); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestContextCauseOfInterrupt(t *testing.T) {
	t.Parallel()
	interrupts := make(chan os.Signal, 1)
	a := newApp(process{getenv: noEnv, interrupts: interrupts})
	ctx, stop := a.interruptible(t.Context())
	defer stop()
	interrupts <- os.Interrupt
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}

// A follower of a job that stays in its queue learns why, within seconds.
func TestFollowPausedQueue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f, err := newFarm(t, dir, farmOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		f.queue.Pause("builds", jobs.PriorityLow)
		f.queue.Pause("builds", jobs.PriorityNormal)
		var stdout, stderr buffer
		code := make(chan int, 1)
		go func() {
			a := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
			code <- a.run(t.Context(), []string{"submit", "--image", "a", "--", "echo", "hi"})
		}()
		count := func(after time.Duration, text string, want int) {
			t.Helper()
			time.Sleep(after) // in the bubble's time
			synctest.Wait()
			if n := strings.Count(stderr.String(), text); n != want {
				t.Errorf("it says %q %d times, want %d:\n%s", text, n, want, stderr.String())
			}
		}
		const line = "still queued: queue builds is paused in asynq since "
		count(time.Second, line, 0)
		count(2*time.Second, line, 1)
		count(time.Minute, line, 1)
		count(0, "no worker is alive", 0)
		f.queue.Pause("builds", jobs.PriorityHigh)
		f.queue.Resume("builds", jobs.PriorityNormal)
		if got := <-code; got != jobs.ExitOK {
			t.Errorf("exit code %d", got)
		}
		count(0, "running on worker", 1)
	})
}

// With nothing paused a job that stays is told as before, and a pause that comes
// later when it does.
func TestFollowQueueThatIsPausedLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f, err := newFarm(t, dir, farmOptions{paused: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		var stdout, stderr buffer
		code := make(chan int, 1)
		go func() {
			a := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
			code <- a.run(t.Context(), []string{"submit", "--image", "a", "--", "echo", "hi"})
		}()
		time.Sleep(15 * time.Second)
		f.queue.Pause("builds", jobs.PriorityNormal)
		time.Sleep(time.Minute)
		f.queue.Resume("builds", jobs.PriorityNormal)
		time.Sleep(time.Minute)
		if _, err := f.svc.Cancel(t.Context(), "job-00000001", "the test"); err != nil {
			t.Fatal(err)
		}
		if got := <-code; got != jobs.ExitCancelled {
			t.Errorf("exit code %d", got)
		}
		var got []string
		for line := range strings.Lines(stderr.String()) {
			if text, ok := strings.CutPrefix(line, "still queued: "); ok {
				got = append(got, text[:12])
			}
		}
		if want := []string{"no worker is", "queue builds", "no worker is"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q:\n%s", got, want, stderr.String())
		}
	})
}

// A job that a plain producer has just pushed is not known for a moment.
func TestWaitForAJobToAppear(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		args  []string
		after time.Duration
		code  int
		took  time.Duration
	}{
		{"soon", nil, 4 * time.Second, jobs.ExitOK, 4 * time.Second},
		{"never", nil, time.Hour, jobs.ExitUsage, 10 * time.Second},
		{"late", []string{"--appear", "10m"}, 5 * time.Minute, jobs.ExitOK, 5 * time.Minute},
		{"later than the time there is", []string{"--appear", "10m", "--timeout", "1m"}, 5 * time.Minute, jobs.ExitUsage, time.Minute},
		{"less patient", []string{"--appear", "1s"}, 4 * time.Second, jobs.ExitUsage, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				f, err := newFarm(t, dir, farmOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer f.close()
				began := time.Now()
				timer := time.AfterFunc(tt.after, func() {
					spec := jobs.Spec{Run: &jobs.Run{Image: "a", Command: []string{"echo", "hi"}}}
					if _, err := f.svc.Accept(context.Background(), jobs.Delivery{Ticket: jobs.Ticket{ID: "nightly-1", Queue: "builds"}, Spec: &spec}); err != nil {
						t.Error(err)
					}
				})
				defer timer.Stop()
				var stdout, stderr buffer
				a := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
				code := a.run(t.Context(), append([]string{"wait", "nightly-1"}, tt.args...))
				if took := time.Since(began); code != tt.code || took < tt.took || took > tt.took+time.Second {
					t.Errorf("exit code %d after %s, want %d after %s\n%s", code, took, tt.code, tt.took, stderr.String())
				}
			})
		})
	}
}
