package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// served is a service that is ready as soon as it runs.
func served(command string, keep time.Duration) jobs.Spec {
	spec := shell(command)
	spec.Run.Keep = jobs.Duration(keep)
	spec.Run.StopGrace = jobs.Duration(time.Second)
	return spec
}

// inBubble runs a test with a farm on a clock of its own, on a host that has been up
// for long.
func inBubble(t *testing.T, test func(t *testing.T, f *farm)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		boot := time.Now().Add(-24 * time.Hour)
		f.uptime = func() time.Duration { return time.Since(boot) }
		test(t, f)
	})
}

// slowlyReady lets a second pass before a service is found to be ready: what it prints
// first is in its log then.
func (f *farm) slowlyReady() {
	f.engine.Hook(func(_ context.Context, op, _ string) error {
		if op == "inspect" {
			time.Sleep(time.Second)
		}
		return nil
	})
}

// renewals is how often a real worker renews, so that the clock has less to skip.
func renewals(o *worker.Options) { o.Renew = 5 * time.Second }

// over waits until the end of the job's service is recorded and nothing of it is left.
func (f *farm) over(id string) jobs.Job {
	f.t.Helper()
	f.eventually("the end of the service is recorded", func() bool { return !f.job(id).Up() })
	f.empty()
	f.eventually("no note about a service is left", func() bool {
		notes, err := os.ReadDir(filepath.Join(f.state, "services"))
		return err != nil || len(notes) == 0
	})
	return f.job(id)
}

// tail is what a reader of the live log has seen of stdout, and fails the test when
// there is a gap in it.
func (f *farm) tail(id string) string {
	f.t.Helper()
	news, err := f.svc.Follow(f.t.Context(), id, jobs.Cursor{}, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	var out strings.Builder
	var end int64
	for _, c := range news.Log {
		at := c.Offset
		if at > end {
			f.t.Errorf("a chunk at %d; want it at %d", at, end)
		}
		for fr := jobs.NewFrameReader(bytes.NewReader(c.Data)); ; {
			frame, err := fr.Next()
			if err != nil {
				break
			}
			if frame.Stream == jobs.Stdout && at >= end {
				out.Write(frame.Data)
			}
			at += int64(jobs.FrameHeader + len(frame.Data))
		}
		end = max(end, at)
	}
	return out.String()
}

func (f *farm) lastEvent(id string) jobs.Event {
	f.t.Helper()
	news, err := f.svc.Follow(f.t.Context(), id, jobs.Cursor{}, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	return news.Events[len(news.Events)-1]
}

func wantService(t *testing.T, job jobs.Job, want string, code int) {
	t.Helper()
	s := job.Result.Service
	if job.State != jobs.Succeeded || s == nil || s.String() != want {
		t.Fatalf("job is %s, its service %v; want it succeeded, and %q", job.State, s, want)
	}
	if has := s.ExitCode != nil; has != (code >= 0) || has && *s.ExitCode != code {
		t.Errorf("exit code %v; want %d", s.ExitCode, code)
	}
}

// What becomes of a service is recorded, with its whole log; its job has succeeded
// when it was ready, and stays so.
func TestServiceEnd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, command string
		do            func(f *farm, id string) // half a minute after it was ready
		want          string
		code          int
		after         time.Duration // from when it was ready
		stdout        string
	}{
		{"by itself", "echo up; sleep 45; echo last words; exit 9", nil, "ended with exit code 9", 9, 45 * time.Second, "up\nlast words\n"},
		{"well", "echo up; sleep 45", nil, "ended with exit code 0", 0, 45 * time.Second, "up\n"},
		{"of memory", "echo up; sleep 45; oom", nil, "ended with exit code 137, out of memory", 137, 45 * time.Second, "up\n"},
		{"expired", "trap 'exit 3' TERM; echo up; sleep 3600; echo never", nil, "expired", 3, time.Minute, "up\n"},
		{"cancelled", "echo up; sleep 3600", func(f *farm, id string) {
			if _, err := f.svc.Cancel(f.t.Context(), id, "ann@desk"); err != nil {
				f.t.Error(err)
			}
		}, "cancelled by ann@desk", 143, 30 * time.Second, "up\n"},
		{
			"stopped by an operator", "trap 'exit 0' TERM; echo up; sleep 3600",
			func(f *farm, _ string) { _ = f.engine.Stop(f.t.Context(), f.engine.Containers()[0].ID, time.Minute) },
			"lost: another client of the engine stopped the container", 0, 30 * time.Second, "up\n",
		},
		{
			"removed", "echo up; sleep 3600", func(f *farm, _ string) { f.engine.Lose(f.engine.Containers()[0].ID) },
			"lost: its container was removed", -1, 30 * time.Second, "up\n",
		},
		{"silent", "sleep 45", nil, "ended with exit code 0", 0, 45 * time.Second, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				w := f.start(renewals)
				job := f.ended(f.submit(served(tt.command, time.Minute)))
				if s := job.Result.Service; job.State != jobs.Succeeded || s == nil || s.State != jobs.ServiceUp || !s.Ended.IsZero() {
					t.Fatalf("job is %s, its service %+v; want it up", job.State, s)
				}
				time.Sleep(time.Second)
				if busy, _ := w.Busy(); busy != 0 {
					t.Errorf("%d slots are taken; want the service to take none", busy)
				}
				time.Sleep(29 * time.Second)
				if tt.do != nil {
					tt.do(f, job.ID)
				}
				time.Sleep(time.Minute)
				over := f.over(job.ID)
				wantService(t, over, tt.want, tt.code)
				if took := over.Result.Service.Ended.Sub(over.Finished); took < tt.after || took > tt.after+7*time.Second {
					t.Errorf("it ended %s after it was ready; want about %s", took, tt.after)
				}
				if e := f.lastEvent(job.ID); e.Type != jobs.EventServiceEnded || e.Text != tt.want {
					t.Errorf("last event %+v; want the end of the service", e)
				}
				if got, live := f.log(over)[jobs.Stdout], f.tail(job.ID); got != tt.stdout || live != tt.stdout {
					t.Errorf("log %q, live %q; want %q", got, live, tt.stdout)
				}
				if _, err := f.svc.Cancel(t.Context(), job.ID, "bob"); !errors.Is(err, jobs.ErrFinished) {
					t.Errorf("cancel of a service that has ended: %v; want %v", err, jobs.ErrFinished)
				}
			})
		})
	}
}

// The output of a service is live while it is up, and the log of the result is the
// one up to when it was ready until there is the whole one.
func TestServiceLogGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.slowlyReady()
		f.start(renewals)
		job := f.ended(f.submit(served("echo one; sleep 10; echo two; sleep 10; echo three", time.Hour)))
		time.Sleep(15 * time.Second)
		if live, stored := f.tail(job.ID), f.log(f.job(job.ID))[jobs.Stdout]; live != "one\ntwo\n" || stored != "one\n" {
			t.Errorf("live %q, stored %q; want what there is so far, and what there was", live, stored)
		}
		time.Sleep(time.Minute)
		if got := f.log(f.over(job.ID))[jobs.Stdout]; got != "one\ntwo\nthree\n" {
			t.Errorf("log %q; want all of it", got)
		}
	})
}

// A worker that comes back goes on with the log where it stopped, or tells what has
// become of the service meanwhile.
func TestServiceOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	const lines = "echo one; sleep 10; echo two; sleep 20; echo three; sleep 40; echo four; exit 7"
	tests := []struct {
		name  string
		mode  worker.DrainMode
		away  time.Duration
		do    func(t *testing.T, f *farm, id string)
		want  string
		code  int
		at    time.Duration // when it ended, from when it was ready
		notes string
	}{
		{name: "restarted", away: time.Second, want: "ended with exit code 7", code: 7, at: 70 * time.Second},
		{name: "upgraded", mode: worker.DrainAdopt, away: time.Second, want: "ended with exit code 7", code: 7, at: 70 * time.Second},
		{name: "handed back", mode: worker.DrainHandBack, away: time.Second, want: "ended with exit code 7", code: 7, at: 70 * time.Second},
		{name: "away when it printed", away: 30 * time.Second, want: "ended with exit code 7", code: 7, at: 70 * time.Second},
		{name: "away when it ended", away: 10 * time.Minute, want: "ended with exit code 7", code: 7, at: 70 * time.Second},
		{
			name: "away when its container was removed", away: time.Minute, want: "lost: its container was removed", code: -1, at: 75 * time.Second,
			do: func(_ *testing.T, f *farm, _ string) { f.engine.Lose(f.engine.Containers()[0].ID) },
		},
		{
			name: "without the spool", away: time.Second, want: "ended with exit code 7", code: 7, at: 70 * time.Second,
			do: func(t *testing.T, f *farm, _ string) {
				if err := os.RemoveAll(filepath.Join(f.state, "spool")); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "without spool and stored log", away: time.Second, want: "ended with exit code 7", code: 7, at: 70 * time.Second, notes: "[gap: ",
			do: func(t *testing.T, f *farm, id string) {
				if err := os.RemoveAll(filepath.Join(f.state, "spool")); err != nil {
					t.Fatal(err)
				}
				if err := f.store.Delete(t.Context(), f.job(id).Result.Log.Digest); err != nil {
					t.Fatal(err)
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				f.slowlyReady()
				w := f.start(renewals)
				job := f.ended(f.submit(served(lines, time.Hour)))
				time.Sleep(15 * time.Second)
				if tt.mode != "" {
					w.Drain(tt.mode)
				} else {
					w.stop()
				}
				w.end(t)
				time.Sleep(tt.away)
				if tt.do != nil {
					tt.do(t, f, job.ID)
				}
				if !f.job(job.ID).Up() {
					t.Error("the service is not up though no worker has looked after it")
				}
				f.start(renewals)
				time.Sleep(2 * time.Minute)
				over := f.over(job.ID)
				wantService(t, over, tt.want, tt.code)
				if took := over.Result.Service.Ended.Sub(over.Finished); (took - tt.at).Abs() > 7*time.Second {
					t.Errorf("it ended %s after it was ready; want %s", took, tt.at)
				}
				stdout := "one\ntwo\nthree\nfour\n"
				if tt.code < 0 {
					stdout = "one\ntwo\n"
				}
				log := f.log(over)
				if log[jobs.Stdout] != stdout || !strings.Contains(log[jobs.Note], tt.notes) || tt.notes == "" && log[jobs.Note] != "" {
					t.Errorf("log %q, notes %q; want each byte once: %q", log[jobs.Stdout], log[jobs.Note], stdout)
				}
				if f.store.Puts() > 3 {
					t.Errorf("%d logs were stored", f.store.Puts())
				}
			})
		})
	}
}

// What a worker had read and not sent when it died is in the live log once the next one
// is there.
func TestServiceLogIsLiveAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		var dead atomic.Bool
		f.at = func(_ context.Context, c faults.Call) error {
			if dead.Load() && c.Name == "appendlog" {
				return errors.New("the worker is about to die")
			}
			return nil
		}
		w := f.start(renewals)
		job := f.ended(f.submit(served("echo one; sleep 10; echo two; sleep 10; echo three; sleep 10; echo four; sleep 3600", time.Hour)))
		time.Sleep(5 * time.Second)
		dead.Store(true)
		time.Sleep(10 * time.Second)
		w.stop()
		w.end(t)
		dead.Store(false)
		time.Sleep(10 * time.Second)
		f.start(renewals)
		time.Sleep(10 * time.Second)
		if got := f.tail(job.ID); got != "one\ntwo\nthree\nfour\n" {
			t.Errorf("live %q; want each line once", got)
		}
		if _, err := f.svc.Cancel(t.Context(), job.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.over(job.ID)
	})
}

// A request to end a service that has ended by itself comes too late, though the worker
// sees both at once.
func TestServiceEndedBeforeItWasCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		for range 10 { // which one it sees first is chance
			w := f.start(renewals)
			job := f.ended(f.submit(served("sleep 5; exit 7", time.Hour)))
			time.Sleep(time.Second)
			w.stop()
			w.end(t)
			time.Sleep(time.Minute)
			if _, err := f.svc.Cancel(t.Context(), job.ID, "ann"); err != nil {
				t.Errorf("cancel before the end is known: %v", err)
			}
			w = f.start(renewals)
			time.Sleep(time.Minute)
			wantService(t, f.over(job.ID), "ended with exit code 7", 7)
			w.stop()
			w.end(t)
		}
	})
}

// A worker that dies while it ends a service leaves word of why: the next one does not
// take the exit code for the program's own.
func TestServiceThatWasBeingEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// step is the call that no worker of the first life gets through.
		step string
	}{
		{"before the container is stopped", "stop"},
		{"before the log is stored", "put"},
		{"before the end is recorded", "endservice"},
		{"before the container is removed", "remove"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				var dead atomic.Bool
				f.at = func(_ context.Context, c faults.Call) error {
					if dead.Load() && c.Name == tt.step {
						return errors.New("the worker is about to die")
					}
					return nil
				}
				f.engine.Hook(func(ctx context.Context, op, _ string) error { return f.at(ctx, faults.Call{Name: op}) })
				f.putFails.Store(func() error { return f.at(t.Context(), faults.Call{Name: "put"}) })
				w := f.start(renewals)
				job := f.ended(f.submit(served("echo up; sleep 3600", time.Hour)))
				time.Sleep(time.Second)
				dead.Store(true)
				if _, err := f.svc.Cancel(t.Context(), job.ID, "ann"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				w.stop()
				w.end(t)
				dead.Store(false)
				time.Sleep(time.Minute)
				f.start(renewals)
				time.Sleep(2 * time.Minute)
				over := f.over(job.ID)
				wantService(t, over, "cancelled by ann", 143)
				if got := f.log(over)[jobs.Stdout]; got != "up\n" {
					t.Errorf("log %q; want what it printed", got)
				}
			})
		})
	}
}

// The end of a service is recorded however long Redis is away, and with the time
// at which it was.
func TestServiceEndOutlastsTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.start(renewals)
		job := f.ended(f.submit(served("echo up; sleep 30; exit 2", time.Hour)))
		time.Sleep(10 * time.Second)
		f.memory.Break(errors.New("away"))
		time.Sleep(20 * time.Minute)
		f.memory.Break(nil)
		time.Sleep(time.Minute)
		over := f.over(job.ID)
		wantService(t, over, "ended with exit code 2", 2)
		if took := over.Result.Service.Ended.Sub(over.Finished); took.Round(time.Second) != 30*time.Second {
			t.Errorf("it ended %s after it was ready; want 30s", took)
		}
	})
}

// A round that finds a service gone from the store just as its end is recorded takes nothing
// from what follows: the container goes at once.
func TestServiceEndSeenEarly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.at = func(_ context.Context, c faults.Call) error {
			if c.Name == "endservice" && c.After {
				time.Sleep(11 * time.Second) // in which there are rounds
			}
			return nil
		}
		f.start(renewals)
		f.ended(f.submit(served("sleep 10", time.Hour)))
		time.Sleep(25 * time.Second)
		if left := f.engine.Containers(); len(left) > 0 {
			t.Errorf("its container was left: %+v", left)
		}
	})
}

// A store that loses its last second takes a service for one that is up whose container
// is gone: what became of it is recorded once more, and is not a loss.
func TestServiceEndThatTheStoreForgot(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.start(renewals)
		job := f.ended(f.submit(served("echo up; sleep 30; echo end; exit 2", time.Hour)))
		time.Sleep(29 * time.Second)
		restore := f.memory.Snapshot()
		time.Sleep(2 * time.Second)
		f.over(job.ID)
		restore()
		if !f.job(job.ID).Up() {
			t.Fatal("Redis did not forget")
		}
		time.Sleep(10 * time.Second)
		over := f.over(job.ID)
		wantService(t, over, "ended with exit code 2", 2)
		if got := f.log(over)[jobs.Stdout]; got != "up\nend\n" {
			t.Errorf("log %q; want all of it", got)
		}
	})
}

// A service that Redis has forgotten is a stray.
func TestServiceThatTheStoreForgot(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		restore := f.memory.Snapshot()
		f.start(renewals)
		f.ended(f.submit(served("sleep 3600", time.Hour)))
		time.Sleep(10 * time.Second)
		restore()
		time.Sleep(5 * time.Minute)
		f.empty()
	})
}

// A store that loses its last second may have the service's job begin again, on the same
// host and under the same name: it finds the container, and has the log to itself.
func TestServiceThatBeginsAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		id := f.submit(served("echo one; sleep 10; echo two; sleep 10; echo three; exit 4", time.Hour))
		ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
		restore := f.memory.Snapshot()
		f.queue.Return(ticket, 0)
		f.start(renewals)
		first := f.ended(id)
		time.Sleep(time.Second)
		restore()
		f.queue.Return(ticket, 0)
		second := f.ended(id)
		if second.Result.ContainerID != first.Result.ContainerID {
			t.Errorf("it runs in %s, not in %s any more", second.Result.ContainerID, first.Result.ContainerID)
		}
		time.Sleep(time.Minute)
		over := f.over(id)
		wantService(t, over, "ended with exit code 4", 4)
		if got := f.log(over)[jobs.Stdout]; got != "one\ntwo\nthree\n" {
			t.Errorf("log %q; want each line once", got)
		}
	})
}

// An engine that fails to follow a service is asked again, and one that cannot stop
// it, too.
func TestServiceOnAnEngineThatFails(t *testing.T) {
	for _, op := range []string{"reattach", "stop", "remove"} {
		t.Run(op, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				w := f.start(renewals)
				job := f.ended(f.submit(served("echo up; sleep 30; echo more; sleep 3600", time.Minute)))
				time.Sleep(10 * time.Second)
				w.stop()
				w.end(t)
				tries := 0
				f.engine.Hook(func(_ context.Context, o, _ string) error {
					if o != op {
						return nil
					}
					if tries++; tries < 4 {
						return jobs.Fail(jobs.KindEngine, nil, "", "the engine is busy")
					}
					return nil
				})
				f.start(renewals)
				time.Sleep(3 * time.Minute)
				over := f.over(job.ID)
				wantService(t, over, "expired", 143)
				if got := f.log(over)[jobs.Stdout]; got != "up\nmore\n" || tries < 4 {
					t.Errorf("log %q after %d tries; want all of it", got, tries)
				}
			})
		})
	}
}

// A host that went down takes its services along, whatever the engine makes of it.
func TestServiceEndsWithItsHost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		w := f.start(renewals)
		job := f.ended(f.submit(served("echo up; sleep 3600", time.Hour)))
		time.Sleep(time.Second)
		w.stop()
		w.end(t)
		if err := f.engine.Stop(t.Context(), f.engine.Containers()[0].ID, time.Second); err != nil {
			t.Fatal(err)
		}
		boot := time.Now()
		f.uptime = func() time.Duration { return time.Since(boot) }
		time.Sleep(time.Minute)
		f.start(renewals)
		time.Sleep(time.Minute)
		wantService(t, f.over(job.ID), "lost: its host was started again", 143)
	})
}

// A service may print more than its log takes: its beginning and its end are kept, and
// what it prints is live all the same, also after a restart of its worker.
func TestServiceOverItsLogLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		limit := func(o *worker.Options) { o.LogCap = 256 << 10 }
		w := f.start(renewals, limit)
		var flood strings.Builder
		for i := range 100 {
			fmt.Fprintf(&flood, "sleep 1; echo %d; head -c 10000 /dev/zero; ", i)
		}
		job := f.ended(f.submit(served("echo first; "+flood.String()+"echo last; exit 1", time.Hour)))
		time.Sleep(60 * time.Second)
		w.stop()
		w.end(t)
		time.Sleep(10 * time.Second)
		f.start(renewals, limit)
		time.Sleep(21 * time.Second)
		if live := f.tail(job.ID); !strings.Contains(live, "\x0089\n") {
			t.Errorf("live are %d bytes, which end in %q; want them up to 89", len(live), live[max(0, len(live)-20):])
		}
		time.Sleep(time.Minute)
		over := f.over(job.ID)
		wantService(t, over, "ended with exit code 1", 1)
		if live := f.tail(job.ID); len(live) != 1_000_301 {
			t.Errorf("%d bytes were live, want 1000301", len(live))
		}
		log, info := f.log(over), over.Result.Log
		if got := log[jobs.Stdout]; !strings.HasPrefix(got, "first\n0\n") || !strings.HasSuffix(got, "last\n") || !strings.Contains(log[jobs.Note], "left out") {
			t.Errorf("log of %d bytes, notes %q; want its beginning, its end and a marker", len(got), log[jobs.Note])
		}
		// 0 to 99 take 290 bytes with their newlines.
		if total := int64(len(log[jobs.Stdout])) + info.Dropped; total != 1_000_301 || info.Size > 300<<10 {
			t.Errorf("%d bytes are kept and %d dropped, of %d; the file has %d", len(log[jobs.Stdout]), info.Dropped, total, info.Size)
		}
	})
}

// A store of artifacts that is away for long costs the log of a service its end, and
// not the word on what became of it.
func TestServiceWithoutAnArtifactStore(t *testing.T) {
	for away, missing := range map[time.Duration]bool{5 * time.Minute: false, time.Hour: true} {
		t.Run(away.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *farm) {
				f.start(renewals)
				job := f.ended(f.submit(served("echo up; sleep 30; echo end; exit 2", time.Hour)))
				time.Sleep(time.Second)
				f.putFails.Store(func() error { return errors.New("away") })
				time.Sleep(away)
				f.putFails.Store(func() error { return nil })
				time.Sleep(time.Minute)
				over := f.over(job.ID)
				wantService(t, over, "ended with exit code 2", 2)
				if got := f.log(over)[jobs.Stdout]; (got == "up\nend\n") == missing || over.Result.Log.Missing != missing {
					t.Errorf("log %q, missing %v; want missing %v", got, over.Result.Log.Missing, missing)
				}
			})
		})
	}
}

// Many services are followed by few goroutines each, and all of them are let go.
func TestManyServices(t *testing.T) {
	inBubble(t, func(t *testing.T, f *farm) {
		f.start(renewals)
		var ids []string
		for i := range 50 {
			ids = append(ids, f.submit(served(fmt.Sprintf("echo %d; sleep %d; echo end", i, 30+i), time.Minute)))
		}
		time.Sleep(3 * time.Minute)
		var states []jobs.ServiceState
		for i, id := range ids {
			over := f.over(id)
			states = append(states, over.Result.Service.State)
			if got := f.log(over)[jobs.Stdout]; !strings.HasPrefix(got, fmt.Sprintln(i)) {
				t.Errorf("service %d printed %q", i, got)
			}
		}
		if !slices.Contains(states, jobs.ServiceEnded) || !slices.Contains(states, jobs.ServiceExpired) {
			t.Errorf("the services are %v; want some ended, some expired", states)
		}
	})
}

// A service whose result Redis took, without saying so before it went away, ends
// before the lease of its attempt passes, like everything that may be another
// worker's by then. How it ended, and its last words, are not lost.
func TestServiceThatMayBeNone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, command, want string
		code                int
		log                 string
	}{
		{"ended by itself", "echo up; sleep 2; echo bye; exit 7", "ended with exit code 7", 7, "up\nbye\n"},
		{"runs", "echo up; sleep 2; echo on; sleep 600", "lost: it was stopped while its worker did not look after it", 143, "up\non\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				id, container := f.crashedJob(f.service(tt.command))
				result := jobs.Result{
					State: jobs.Succeeded, Host: "host-1", Attempt: 1, ContainerID: container, KeepUntil: time.Now().Add(time.Hour),
					Service: &jobs.ServiceStatus{State: jobs.ServiceUp},
				}
				if err := f.memory.Finish(t.Context(), id, "dead", result); err != nil {
					t.Fatal(err)
				}
				raw, err := json.Marshal(result)
				if err != nil {
					t.Fatal(err)
				}
				f.journaled(id, time.Minute, fmt.Sprintf(`,"result":%s`, raw))
				f.memory.Break(errors.New("away"))
				f.start(renewals)
				time.Sleep(time.Minute)
				if f.runs(container) {
					t.Error("the container runs on though its lease has passed")
				}
				f.memory.Break(nil)
				job := f.over(id)
				wantService(t, job, tt.want, tt.code)
				if log := f.logOf(job.Result.Log)[jobs.Stdout]; log != tt.log {
					t.Errorf("the log is %q; want %q", log, tt.log)
				}
			})
		})
	}
}

// Each hint reaches all workers of the farm. Those that it is not for ask Redis nothing.
func TestHintForAnotherWorker(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	var looks atomic.Int32
	f.at = func(_ context.Context, c faults.Call) error {
		if c.Name == "kept" && !c.After {
			looks.Add(1)
		}
		return nil
	}
	f.start()
	f.ended(f.submit(shell("true"))) // it listens by now
	before := looks.Load()
	var others []string
	for range 5 {
		sub, err := f.memory.Create(t.Context(), []jobs.Job{{ID: fmt.Sprint("other-", len(others)), Spec: shell("sleep 60")}})
		if err != nil || !sub[0] {
			t.Fatalf("Create: %v, %v", sub, err)
		}
		id := fmt.Sprint("other-", len(others))
		others = append(others, id)
		o := jobs.Owner{Worker: "two", Host: "host-2", Nonce: "theirs", Lease: time.Hour}
		if _, err := f.memory.Claim(t.Context(), jobs.Ticket{ID: id, Attempt: 1}, o); err != nil {
			t.Fatal(err)
		}
		if _, err := f.svc.Cancel(t.Context(), id, "an operator"); err != nil {
			t.Fatal(err)
		}
	}
	// A hint that comes after them is heard after them.
	id := f.submit(shell("sleep 60"))
	f.containerRuns(id)
	if _, err := f.svc.Cancel(t.Context(), id, "an operator"); err != nil {
		t.Fatal(err)
	}
	f.ended(id)
	if n := looks.Load() - before; n > 0 {
		t.Errorf("the worker looked for its services %d times because of %v", n, others)
	}
}
