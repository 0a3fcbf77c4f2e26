package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/worker"
)

// sits gives a host a seat.
func (f *farm) sits(host string, lease time.Duration) {
	f.t.Helper()
	if _, err := f.memory.TakeSeat(f.t.Context(), jobs.Seat{Host: host, Nonce: "n", Turn: 1, Lease: lease}, ""); err != nil {
		f.t.Fatal(err)
	}
}

// onHost is a job that another host runs, on this daemon.
func (f *farm) onHost(host, farm string, spec jobs.Spec, lease time.Duration) (jobs.Job, engine.State) {
	f.t.Helper()
	ctx := f.t.Context()
	id := f.submit(spec)
	ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
	job, err := f.memory.Claim(ctx, ticket, jobs.Owner{Worker: "two", Host: host, Nonce: "theirs-" + id, Lease: lease})
	if err != nil {
		f.t.Fatal(err)
	}
	c := engineContainer(jobs.ContainerName(id, 1), id, job.Spec)
	c.Labels[engine.LabelHost], c.Labels[engine.LabelFarmID] = host, farm
	made, err := f.engine.Create(ctx, c)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.engine.Start(ctx, made.ID, engine.Output{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}); err != nil {
		f.t.Fatal(err)
	}
	return job, made
}

// keeps makes a service of it.
func (f *farm) keeps(job jobs.Job, c engine.State, until time.Duration) {
	f.t.Helper()
	r := jobs.Result{State: jobs.Succeeded, Host: job.Host, Attempt: 1, ContainerID: c.ID, KeepUntil: time.Now().Add(until), Service: &jobs.ServiceStatus{State: jobs.ServiceUp}}
	if err := f.memory.Finish(f.t.Context(), job.ID, "theirs-"+job.ID, r); err != nil {
		f.t.Fatal(err)
	}
}

// serviceOfLost is a service of a host on this daemon that is about to be silent.
func (f *farm) serviceOfLost(command string, until time.Duration) (jobs.Job, engine.State) {
	f.t.Helper()
	f.others = member{f.memory, nil}
	f.sits("lost", 90*time.Second)
	job, c := f.onHost("lost", "farm-1", shell(command), time.Minute)
	f.keeps(job, c, until)
	return job, c
}

func (f *farm) there(c engine.State) bool {
	_, err := f.engine.Inspect(context.Background(), c.ID)
	return err == nil
}

// What a host left whose state directory is lost runs here without a worker to look
// after it. It ends before its lease does, as its own worker would have ended it, and
// then its job begins anew.
func TestHostThatIsLost(t *testing.T) {
	t.Parallel()
	for _, lease := range []time.Duration{6 * time.Second, 90 * time.Second} {
		t.Run(lease.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.others = member{f.memory, nil}
				f.sits("lost", lease)
				job, c := f.onHost("lost", "farm-1", shell("echo up; sleep 600"), lease)
				image, err := f.engine.Build(t.Context(), engine.Build{
					Name: jobs.ImageName("default", job.ID, 1), Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", "FROM busybox\n")),
				})
				if err != nil {
					t.Fatal(err)
				}
				passes := time.Now().Add(lease)
				f.start(func(o *worker.Options) { o.Renew, o.Lease = worker.RenewEvery(lease), lease })
				time.Sleep(lease / 2)
				if !f.there(c) {
					t.Errorf("the container is gone when half of its lease has passed")
				}
				time.Sleep(time.Until(passes))
				if f.there(c) {
					t.Error("the container runs on though its lease has passed")
				}
				time.Sleep(2 * time.Minute) // its image is no danger
				if f.engine.HasImage(image.ImageID) {
					t.Error("its image is left")
				}
			})
		})
	}
}

// The same when the other host starts it right after this one has looked.
func TestHostThatIsLostSoon(t *testing.T) {
	t.Parallel()
	const lease = 6 * time.Second
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.others = member{f.memory, nil}
		f.start(func(o *worker.Options) { o.Renew, o.Lease = worker.RenewEvery(lease), lease })
		time.Sleep(10 * time.Millisecond)
		f.sits("lost", lease)
		_, c := f.onHost("lost", "farm-1", shell("echo up; sleep 600"), lease)
		time.Sleep(lease)
		if f.there(c) {
			t.Error("the container runs on though its lease has passed")
		}
	})
}

// A service of a host that is lost ends, and nothing of it stays in the records.
func TestServiceOfAHostThatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		_, c := f.serviceOfLost("echo up; sleep 3600", time.Hour)
		f.start()
		time.Sleep(time.Minute)
		if !f.there(c) {
			t.Error("the service ended before a worker could know that its host is lost")
		}
		time.Sleep(2 * time.Minute)
		if kept, err := f.memory.Kept(t.Context(), "lost"); f.there(c) || len(kept) > 0 || err != nil {
			t.Errorf("the service is up: %t; kept: %v, %v; want neither", f.there(c), kept, err)
		}
	})
}

// A service whose time is over, and whose own worker ends it when another worker of
// the daemon is about to, has expired, whichever of the two reports it.
func TestServiceThatTwoWorkersEnd(t *testing.T) {
	t.Parallel()
	for command, code := range map[string]int{"echo up; sleep 3600": 143, "trap 'exit 0' TERM; echo up; sleep 3600": 0} {
		t.Run(fmt.Sprint("exit code ", code), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				job, c := f.serviceOfLost(command, 20*time.Second)
				var once atomic.Bool
				f.engine.Hook(func(ctx context.Context, op, _ string) error {
					if op != "inspect" || time.Since(job.Started) < 20*time.Second || once.Swap(true) {
						return nil
					}
					return errors.Join(f.engine.Stop(ctx, c.ID, time.Second), errors.New("the engine is busy"))
				})
				f.start()
				time.Sleep(5 * time.Minute)
				if !once.Load() {
					t.Fatal("no worker was about to end it")
				}
				wantService(t, f.job(job.ID), "expired", code)
			})
		})
	}
}

// Workers that share a daemon leave each other alone, whatever the clock says, and so
// do farms of one name.
func TestHostsShareADaemon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.others = member{f.memory, nil}
		const lease = 6 * time.Second
		f.sits("alive", lease)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		calls := f.memory.Cancellations(ctx)
		running, c := f.onHost("alive", "farm-1", shell("echo up; sleep 3600"), lease)
		go func() { // the other worker
			for {
				select {
				case <-ctx.Done():
					return
				case host := <-calls:
					if host == "alive" {
						_, _ = f.memory.KeepSeat(ctx, "alive", "n")
					}
				case <-time.After(lease / 10):
					_, _ = f.memory.Renew(ctx, running.ID, "theirs-"+running.ID, lease)
				}
			}
		}()
		service, s := f.onHost("alive", "farm-1", shell("echo up; sleep 3600"), time.Hour)
		f.keeps(service, s, time.Hour)
		gone := engineContainer(jobs.ContainerName("gone", 1), "gone", shell("sleep 3600"))
		gone.Labels[engine.LabelHost], gone.Labels[engine.LabelFarmID] = "alive", "farm-2"
		foreign, err := f.engine.Create(t.Context(), gone)
		if err != nil {
			t.Fatal(err)
		}
		f.start(func(o *worker.Options) { o.Renew, o.Lease = worker.RenewEvery(lease), lease })
		for minute := range 20 {
			time.Sleep(time.Minute)
			for what, c := range map[string]engine.State{"the run": c, "the service": s, "the other farm's container": foreign} {
				if !f.there(c) {
					t.Fatalf("after %d minutes %s of the other worker is gone", minute+1, what)
				}
			}
		}
		for _, left := range f.engine.Containers() {
			f.engine.Lose(left.ID)
		}
	})
}

// Before an attempt's container is made every other one of its job is gone from the
// daemon, also one of the same name.
func TestNoTwins(t *testing.T) {
	t.Parallel()
	for _, attempt := range []int{1, 2} {
		t.Run(fmt.Sprint("attempt ", attempt), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(t)
				f.others = member{f.memory, nil}
				f.sits("alive", time.Hour)
				id := f.submit(shell("true"))
				ticket, _ := f.queue.TryReceive(jobs.DefaultQueue)
				before := f.memory.Snapshot()
				job, err := f.memory.Claim(t.Context(), ticket, jobs.Owner{Worker: "two", Host: "alive", Nonce: "theirs", Lease: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				twin := engineContainer(jobs.ContainerName(id, 1), id, job.Spec)
				twin.Labels[engine.LabelHost], twin.Labels[engine.LabelFarmID] = "alive", "farm-1"
				other := engineContainer(jobs.ContainerName("other", 1), "other", job.Spec)
				other.Labels[engine.LabelHost], other.Labels[engine.LabelFarmID] = "alive", "farm-2"
				if attempt == 1 { // Redis loses that it was claimed
					before()
				} else if ticket, err = f.memory.Release(t.Context(), id, "theirs", jobs.Release{}); err != nil {
					t.Fatal(err)
				}
				var at []string
				f.engine.Hook(func(ctx context.Context, op, _ string) error {
					switch op {
					case "imagefacts": // just before the attempt makes its own
						for _, c := range []engine.Container{twin, other} {
							if _, err := f.engine.Create(ctx, c); err != nil {
								t.Error(err)
							}
						}
					case "start":
						for _, c := range f.engine.Containers() {
							at = append(at, c.Name)
						}
					}
					return nil
				})
				f.queue.Return(ticket, 0)
				f.start()
				job = f.ended(id)
				want := []string{jobs.ContainerName(id, attempt), other.Name}
				if job.State != jobs.Succeeded || job.Attempt != attempt || !slices.Equal(at, want) {
					t.Errorf("job is %s at attempt %d, and started beside %q; want %q", job.State, job.Attempt, at, want)
				}
				for _, c := range f.engine.Containers() {
					f.engine.Lose(c.ID)
				}
			})
		})
	}
}

// A probe that another worker did not get to remove goes when that worker is gone.
func TestProbeOfAHostThatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.others = member{f.memory, nil}
		f.sits("lost", time.Minute)
		labels := map[string]string{engine.LabelProbe: engine.ProbeName, engine.LabelFarmID: "farm-1", engine.LabelHost: "lost"}
		if _, err := f.engine.Create(t.Context(), engine.Container{Name: engine.ProbeName + "-x", Image: "busybox", Labels: labels}); err != nil {
			t.Fatal(err)
		}
		f.start()
		time.Sleep(30 * time.Second)
		if n := len(f.engine.Containers()); n != 1 {
			t.Errorf("there are %d containers; want the probe, whose worker may be alive", n)
		}
		time.Sleep(3 * time.Minute)
		f.empty()
	})
}

// What is read of another host fails as often as it likes: nothing ends by that.
func TestOthersWithoutAStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.others = member{deaf{f.memory}, nil}
		f.sits("lost", time.Second)
		_, c := f.onHost("lost", "farm-1", shell("echo up; sleep 3600"), time.Second)
		f.start()
		time.Sleep(time.Minute)
		if !f.there(c) {
			t.Error("a container was ended on the strength of an error")
		}
		f.engine.Lose(c.ID)
	})
}

// deaf are seats that cannot be read.
type deaf struct{ *jobstest.Memory }

func (deaf) Seat(context.Context, string) (jobs.Seat, time.Time, error) {
	return jobs.Seat{}, time.Time{}, fmt.Errorf("i/o timeout")
}
