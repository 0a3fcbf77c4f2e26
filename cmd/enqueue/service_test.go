package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// ready makes the feed's job succeed with a service that is up.
func (f *feed) ready(t *testing.T) {
	t.Helper()
	res := jobs.Result{
		State: jobs.Succeeded, Attempt: f.try, Host: "h1", Log: f.stored(t),
		KeepUntil: time.Now().Add(time.Hour), Service: &jobs.ServiceStatus{State: jobs.ServiceUp},
	}
	if err := f.mem.Finish(t.Context(), f.id, "n", res); err != nil {
		t.Fatal(err)
	}
}

func (f *feed) stored(t *testing.T) jobs.LogInfo {
	t.Helper()
	blob, err := artifacts.NewBlobs(f.store, "").Write(t.Context(), bytes.NewReader(f.log))
	if err != nil {
		t.Fatal(err)
	}
	return jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}
}

// over ends the service with an exit code.
func (f *feed) over(t *testing.T, code int) {
	t.Helper()
	end := jobs.ServiceEnd{Status: jobs.ServiceStatus{State: jobs.ServiceEnded, ExitCode: &code}, Log: f.stored(t)}
	if err := f.mem.EndService(t.Context(), f.id, "n", end); err != nil {
		t.Fatal(err)
	}
}

// withFeed runs a test in a bubble with a job whose owner is the test.
func withFeed(t *testing.T, o farmOptions, test func(t *testing.T, f *feed)) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	o.paused = true
	synctest.Test(t, func(t *testing.T) {
		g, err := newFarm(t, dir, o)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		test(t, newFeed(t, g))
	})
}

// followed is a follower at work.
type followed struct {
	out, errs buffer
	done      chan jobs.Job
}

func (f *feed) start(t *testing.T, service bool) *followed {
	t.Helper()
	w := &followed{done: make(chan jobs.Job, 1)}
	fw := f.follower(&w.out, &w.errs)
	fw.service = service
	go func() {
		job, err := fw.run(t.Context())
		if err != nil {
			t.Errorf("run: %v", err)
		}
		w.done <- job
	}()
	return w
}

// Who follows the log of a service sees it to its end, however long that takes, and who
// only submitted it is let go when it is ready.
func TestFollowService(t *testing.T) {
	withFeed(t, farmOptions{}, func(t *testing.T, f *feed) {
		watches, submits := f.start(t, true), f.start(t, false)
		f.write(t, "one ", false)
		synctest.Wait()
		f.write(t, "two ", true)
		f.ready(t)
		if job := <-submits.done; job.State != jobs.Succeeded || submits.out.String() != "one two " {
			t.Errorf("submit saw the job %s and %q; want it when it is ready, with all until then", job.State, submits.out.String())
		}
		time.Sleep(time.Minute)
		f.write(t, "three ", false)
		time.Sleep(time.Minute)
		if got := watches.out.String(); got != "one two three " {
			t.Errorf("while it is up the follower saw %q", got)
		}
		late := f.start(t, true)
		synctest.Wait()
		if got := late.out.String(); got != "one two three " {
			t.Errorf("who came late saw %q", got)
		}
		f.write(t, "four ", false)
		f.write(t, "five", true)
		f.write(t, " six", true)
		f.over(t, 9)
		for _, w := range []*followed{watches, late} {
			job := <-w.done
			if job.Up() || w.out.String() != "one two three four five six" || strings.Contains(w.errs.String(), "gap") {
				t.Errorf("saw %q, %q; want all of it once", w.out.String(), w.errs.String())
			}
			if !strings.Contains(w.errs.String(), "■ the service is over: ended with exit code 9\n") {
				t.Errorf("%q lacks the end of the service", w.errs.String())
			}
		}
	})
}

// flooding is a store with news whenever it is asked.
type flooding struct {
	jobs.Records
	write func()
}

func (f flooding) Follow(ctx context.Context, id string, after jobs.Cursor, wait time.Duration) (jobs.News, error) {
	f.write()
	return f.Records.Follow(ctx, id, after, wait)
}

// A service that prints all the time does not keep submit from its end.
func TestSubmitOfAFlood(t *testing.T) {
	t.Parallel()
	f := newFeed(t, startFarm(t, farmOptions{paused: true}))
	var out, errs buffer
	fw := f.follower(&out, &errs)
	f.write(t, "begin ", false)
	f.ready(t)
	prints := 0
	fw.svc = jobs.NewService(flooding{f.mem, func() {
		if prints++; prints > 100 {
			t.Fatal("submit goes on")
		}
		f.write(t, "more ", false)
	}}, f.queue, jobstest.NewIDs())
	if job, err := fw.run(t.Context()); err != nil || !job.Up() || !strings.HasPrefix(out.String(), "begin ") {
		t.Errorf("run: %+v, %v, saw %q; want the job when its service is ready", job.Result, err, out.String())
	}
}

// What the live log has lost of a service that is up is marked, and so it is for who
// asks for the log so far; when it is over the log is whole.
func TestLogsOfAService(t *testing.T) {
	withFeed(t, farmOptions{}, func(t *testing.T, f *feed) {
		logs := func(args ...string) (string, string, int) {
			var out, errs buffer
			code := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}).
				run(t.Context(), append([]string{"--store", f.dir, "logs"}, append(args, f.id)...))
			return out.String(), errs.String(), code
		}
		f.write(t, "one ", false)
		f.ready(t)
		f.write(t, "two ", true)
		f.write(t, "three ", false)
		if out, errs, code := logs(); out != "one three " || !strings.Contains(errs, "[gap: 17 bytes]") || code != 0 {
			t.Errorf("logs of a service that is up: %q, %q, %d", out, errs, code)
		}
		f.over(t, 0)
		for _, args := range [][]string{nil, {"-f"}} {
			if out, errs, code := logs(args...); out != "one two three " || errs != "" || code != 0 {
				t.Errorf("logs %q of a service that is over: %q, %q, %d", args, out, errs, code)
			}
		}
	})
}

// A worker that lost its copy of the log sends it again in other pieces: a reader sees
// a piece again that it has seen in part, and nothing that is no text.
func TestFollowAfterALostSpool(t *testing.T) {
	t.Parallel()
	f := newFeed(t, startFarm(t, farmOptions{paused: true}))
	var out, errs buffer
	fw := f.follower(&out, &errs)
	at := int64(0)
	show := func(text string) {
		data := jobs.AppendFrame(nil, jobs.Frame{Stream: jobs.Stdout, At: time.Unix(1, 0), Data: []byte(text)})
		fw.reader().Chunk(t.Context(), jobs.LogChunk{Attempt: 1, Offset: at, Data: data})
		at += int64(len(data))
	}
	show("one ")
	again := at
	show("two ")
	at = again
	show("tw")
	show("o three ")
	show("four")
	if got := out.String(); got != "one two o three four" || errs.String() != "" {
		t.Errorf("saw %q, %q", got, errs.String())
	}
}

// A reader who follows a log has nothing to end but that.
func TestInterruptOfLogs(t *testing.T) {
	for name, signals := range map[string][]os.Signal{
		"once": {os.Interrupt}, "twice": {os.Interrupt, os.Interrupt}, "terminated": {syscall.SIGTERM},
	} {
		for _, service := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				withFeed(t, farmOptions{}, func(t *testing.T, f *feed) {
					if service {
						f.ready(t)
					}
					var out, errs buffer
					interrupts := make(chan os.Signal, 4)
					code := make(chan int, 1)
					go func() {
						a := f.app(process{getenv: noEnv, stdin: strings.NewReader(""), stdout: &out, stderr: &errs, interrupts: interrupts})
						code <- a.run(t.Context(), []string{"logs", "-f", f.id})
					}()
					synctest.Wait()
					for _, sig := range signals {
						interrupts <- sig
						synctest.Wait()
					}
					time.Sleep(5 * time.Second)
					if len(code) == 0 || <-code != jobs.ExitDetached || !strings.Contains(errs.String(), "it goes on: enqueue logs -f "+f.id) {
						t.Errorf("stderr %q; want it to end at once with %d", errs.String(), jobs.ExitDetached)
					}
					job, err := f.svc.Get(t.Context(), f.id)
					if err != nil || job.CancelBy != "" || job.Up() != service {
						t.Errorf("job %+v, %v; want it left alone", job, err)
					}
					if service {
						f.over(t, 0)
					}
				})
			})
		}
	}
}

// An interrupt ends a verb that waits for something else.
func TestInterruptThatNoVerbTakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signals, interrupts, left := make(chan os.Signal, 4), make(chan os.Signal, 4), make(chan time.Duration, 1)
		began := time.Now()
		go handOn(signals, interrupts, func() { left <- time.Since(began) })
		signals <- os.Interrupt
		synctest.Wait()
		<-interrupts // a verb takes the first
		time.Sleep(time.Hour)
		if len(left) > 0 {
			t.Fatal("the program ended though its verb took the interrupt")
		}
		began = time.Now()
		signals <- os.Interrupt
		if after := <-left; after > time.Second {
			t.Errorf("it ended after %s; want it at once", after)
		}
	})
}
