package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// What an earlier incarnation of the host left behind is adopted, collected or
// started again, and never doubled.
func TestAdopt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		command string
		crashed func(f *farm, container string) // what happens while no worker is there
		state   jobs.State
		attempt int
		stdout  string
	}{
		{"running", "echo a; sleep 0.3; echo b", func(*farm, string) {}, jobs.Succeeded, 1, "a\nb\n"},
		{"exited meanwhile", "echo a; sleep 0.1; echo b; exit 3", func(f *farm, id string) {
			f.eventually("the container ends", func() bool { return f.engine.Containers()[0].Status == "exited" })
		}, jobs.Failed, 1, "a\nb\n"},
		{"stopped by an operator", "trap 'exit 0' TERM; echo a; sleep 0.3; echo b", func(f *farm, id string) {
			_ = f.engine.Stop(f.t.Context(), id, time.Minute)
		}, jobs.Succeeded, 2, "a\nb\n"},
		{"gone", "echo a; sleep 0.3; echo b", func(f *farm, id string) { f.engine.Lose(id) }, jobs.Succeeded, 2, "a\nb\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			id, container := f.crashedJob(shell(tt.command))
			tt.crashed(f, container)
			f.start()
			f.eventually("the attempt is over", func() bool {
				job := f.job(id)
				return job.State.Terminal() || job.Attempt == 2
			})
			f.queue.Advance(time.Minute)
			f.memory.Advance(time.Minute)
			job := f.ended(id)
			if job.State != tt.state || job.Attempt != tt.attempt || job.Retries != 0 {
				t.Errorf("job is %s in attempt %d, %d retries, %+v; want %s in %d", job.State, job.Attempt, job.Retries, job.Result.Failure, tt.state, tt.attempt)
			}
			if got := f.log(job)[jobs.Stdout]; got != tt.stdout {
				t.Errorf("log %q; want %q, each byte once", got, tt.stdout)
			}
			f.empty()
		})
	}
}

// A container that was made and never started belongs to the same attempt.
func TestAdoptBeforeTheStart(t *testing.T) {
	t.Parallel()
	for _, recorded := range []bool{false, true} {
		f := newFarm(t)
		spec := shell("echo once")
		id := f.submit(spec)
		ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
		if _, err := f.memory.Claim(t.Context(), ticket, jobs.Owner{Worker: "one", Host: "host-1", Nonce: "dead", Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c := jobs.Container{Name: jobs.ContainerName(id, 1)}
		if recorded {
			made, err := f.engine.Create(t.Context(), engineContainer(c.Name, id, f.job(id).Spec))
			if err != nil {
				t.Fatal(err)
			}
			c.ID = made.ID
		}
		if err := f.memory.Note(t.Context(), id, "dead", jobs.Progress{Stage: jobs.StageRun, Container: c, RunTimeout: time.Hour}); err != nil {
			t.Fatal(err)
		}
		f.start()
		job := f.ended(id)
		if job.State != jobs.Succeeded || job.Attempt != 1 || job.Losses != 0 || f.log(job)[jobs.Stdout] != "once\n" {
			t.Errorf("job is %s at attempt %d with %d losses, log %q; want one run at the first attempt", job.State, job.Attempt, job.Losses, f.log(job))
		}
		f.empty()
	}
}

// An engine that starts with its host knows of the containers that ran there, and
// not how they ended.
func TestHostStartedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		up, ago time.Duration
		attempt int
	}{
		"since": {time.Minute, time.Hour, 2}, "before": {time.Hour, time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				id, _ := f.crashedJob(shell("echo a; exit 255"))
				time.Sleep(tt.ago)
				f.uptime = func() time.Duration { return tt.up }
				f.start()
				f.eventually("the attempt is over", func() bool {
					job := f.job(id)
					return job.State.Terminal() || job.Attempt == 2
				})
				if job := f.job(id); job.Attempt != tt.attempt || job.Losses != tt.attempt-1 {
					t.Errorf("the job is %s in attempt %d with %d losses; want attempt %d", job.State, job.Attempt, job.Losses, tt.attempt)
				}
			})
		})
	}
}

// While it is not known what an earlier worker left running, nothing of it is a
// stray, however long that takes.
func TestWhatIsNotYetAdoptedIsNoStray(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, _ := f.crashedJob(shell("sleep 70; echo b"))
		other := f.submit(shell("true"))
		f.journaled(id, time.Hour)
		f.memory.Break(errors.New("away"))
		f.start(func(o *worker.Options) { o.Renew = 7 * time.Second })
		time.Sleep(61 * time.Second) // the recovery tries again after 63
		f.memory.Break(nil)
		if _, err := f.svc.Cancel(t.Context(), other, "an operator"); err != nil { // wakes tendServices
			t.Fatal(err)
		}
		if job := f.ended(id); job.State != jobs.Succeeded || job.Losses != 0 {
			t.Errorf("job is %s with %d losses; want its container left alone", job.State, job.Losses)
		}
		f.empty()
	})
}

// A verdict that Redis could not be told survives the process and is
// reported under its own nonce, so that the work is not done again.
func TestVerdictOutlastsTheWorker(t *testing.T) {
	t.Parallel()
	exit := 3
	for name, tt := range map[string]struct {
		verdict map[string]any
		state   jobs.State
		attempt int
	}{
		"result":  {map[string]any{"result": jobs.Result{State: jobs.Failed, ExitCode: &exit, Attempt: 1}}, jobs.Failed, 1},
		"release": {map[string]any{"release": jobs.Release{Reason: "exit code 3", Spend: jobs.SpendRetry}}, jobs.Succeeded, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			id, _ := f.crashedJob(shell("echo once"))
			tt.verdict["job"], tt.verdict["attempt"], tt.verdict["nonce"] = id, 1, "dead"
			raw, err := json.Marshal(tt.verdict)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(f.state, "journal")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string][]byte{id + "-a1.json": raw, "torn.json.tmp": raw[:9], "odd.json": raw[:9]} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f.start()
			job := f.ended(id)
			if job.State != tt.state || job.Attempt != tt.attempt || job.Losses != 0 || job.Retries != tt.attempt-1 {
				t.Errorf("job is %s at attempt %d, %d losses, %d retries; want %s at attempt %d, the retry as decided",
					job.State, job.Attempt, job.Losses, job.Retries, tt.state, tt.attempt)
			}
			f.empty()
			f.eventually("only what cannot be read is left of the journal", func() bool {
				left, err := os.ReadDir(dir)
				return err == nil && len(left) == 1 && left[0].Name() == "odd.json.odd"
			})
		})
	}
}

// A store that loses its last second gives an attempt that was over to the next
// worker again. How a container ended that was told to says nothing of its job, so
// the journal keeps the verdict for as long as the container is there.
func TestVerdictIsKeptUntilTheContainerIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		var tries, kept int
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op != "remove" {
				return nil
			}
			if entries, err := os.ReadDir(filepath.Join(f.state, "journal")); err == nil && len(entries) == 1 {
				kept++
			}
			if tries++; tries == 1 {
				return errors.New("the engine is busy")
			}
			return nil
		})
		f.start()
		job := f.ended(f.submit(shell("true")))
		f.empty()
		f.eventually("the journal is empty", func() bool {
			entries, _ := os.ReadDir(filepath.Join(f.state, "journal"))
			return len(entries) == 0
		})
		if job.State != jobs.Succeeded || tries != 2 || kept != 2 {
			t.Errorf("job is %s, its container was removed %d times, the journal kept it %d times; want 2 and 2", job.State, tries, kept)
		}
	})
}

// A container that an attempt finds under its name, because Redis lost its last
// second, may have ended because it was told to.
func TestEndBeforeTheStoreForgot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.start()
		time.Sleep(time.Second)
		spec := shell("echo once")
		made, err := f.engine.Create(t.Context(), engineContainer(jobs.ContainerName("job-00000001", 1), "job-00000001", spec))
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.engine.Start(t.Context(), made.ID, engine.Output{Stdout: io.Discard, Stderr: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		job := f.ended(f.submit(spec))
		if job.State != jobs.Succeeded || job.Attempt != 2 || job.Losses != 1 || job.Retries != 0 {
			t.Errorf("job is %s at attempt %d with %d losses; want it begun anew", job.State, job.Attempt, job.Losses)
		}
		f.empty()
	})
}

// What ran before Redis lost its last second, and then was lost itself, is not
// run once more behind its own output. The journal knows that it ran, also where its
// verdict is of a worker whose adoption of the job Redis lost.
func TestRunThatTheStoreForgot(t *testing.T) {
	t.Parallel()
	for name, verdict := range map[string]string{"no verdict": "", "a forgotten verdict": `,"nonce":"forgotten","container":{"phase":"started"},"release":{"Reason":"its lease was lost"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				var back func()
				f.engine.Hook(func(_ context.Context, op, _ string) error {
					if op == "create" && back == nil {
						back = f.memory.Snapshot()
					}
					return nil
				})
				w := f.start()
				id := f.submit(shell("echo once; sleep 2"))
				f.containerRuns(id)
				w.Drain(worker.DrainAdopt)
				w.end(t)
				back()
				f.engine.Lose(f.engine.Containers()[0].ID)
				if verdict != "" {
					f.journaled(id, time.Minute, verdict)
				}
				f.start()
				job := f.ended(id)
				if job.State != jobs.Succeeded || job.Attempt != 2 || job.Losses != 1 || f.log(job)[jobs.Stdout] != "once\n" {
					t.Errorf("job is %s at attempt %d with %d losses, log %q; want it begun anew", job.State, job.Attempt, job.Losses, f.log(job)[jobs.Stdout])
				}
				f.empty()
			})
		})
	}
}

// Why a container was being stopped counts, also when nothing else is left of it.
func TestHaltedAndGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id, container := f.crashedJob(shell("echo up; sleep 2"))
		f.journaled(id, time.Minute, `,"container":{"phase":"stopping","why":{"drain":true}}`)
		f.engine.Lose(container)
		f.start()
		if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 2 || job.Losses != 0 {
			t.Errorf("job is %s at attempt %d with %d losses; want it handed back without one", job.State, job.Attempt, job.Losses)
		}
		f.empty()
	})
}
