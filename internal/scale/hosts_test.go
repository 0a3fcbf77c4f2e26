//go:build integration

package scale_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pins"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/reconcile"
	"github.com/slipway-farm/slipway/internal/records"
	"github.com/slipway-farm/slipway/internal/redisconn"
	"github.com/slipway-farm/slipway/internal/seat"
	"github.com/slipway-farm/slipway/internal/worker"
)

// hostsVariable makes the test binary a process with some hosts; its value is a
// hostsConfig as JSON.
const hostsVariable = "SLIPWAY_SCALE_HOSTS"

// hostsConfig says which hosts a process has.
type hostsConfig struct {
	Redis string
	Dir   string
	First int // the number of the first host
	Hosts int
	Slots int
}

// readings are what a process with hosts knows that Redis does not.
type readings struct {
	// Idle is how long each slot that became free was without a job, for slots that got
	// one, since the last readings.
	Idle []time.Duration
	// Memory is the resident set of the process in bytes.
	Memory int64
	// CPU is the time that the process has used.
	CPU time.Duration
}

// runHosts runs workers until stdin ends, and answers each line there with its readings.
func runHosts(config string) error {
	var c hostsConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("read %s: %w", hostsVariable, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	w := &freed{}
	errs := make([]error, c.Hosts)
	var running sync.WaitGroup
	for i := range c.Hosts {
		running.Go(func() { errs[i] = c.run(ctx, c.First+i, w) })
	}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		r := readings{Idle: w.take(), Memory: resident(), CPU: processCPU()}
		if err := out.Encode(r); err != nil {
			break
		}
	}
	stop()
	running.Wait()
	return errors.Join(errs...)
}

// run is one worker with all that a worker's process does on Redis all the time.
func (c hostsConfig) run(ctx context.Context, number int, w *freed) error {
	name := fmt.Sprintf("host-%04d", number)
	home := filepath.Join(c.Dir, name)
	dir, err := seat.Open(home)
	if err != nil {
		return err
	}
	defer dir.Close()
	rdb, err := redisconn.Lazy(c.Redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	intakeRedis, err := redisconn.Lazy(c.Redis) // the intake closes it
	if err != nil {
		return err
	}
	store, err := dirstore.New(filepath.Join(c.Dir, "store"))
	if err != nil {
		return err
	}
	o := worker.Defaults()
	o.Name, o.HostID, o.StateDir, o.Slots, o.Queues, o.Drain = name, dir.Host(), home, c.Slots, []string{jobs.DefaultQueue}, time.Second
	db := records.New(rdb, forGood())
	tickets := queue.New(rdb, jobs.DefaultQueue)
	eng := enginetest.New()
	work := worker.New(nil, worker.Deps{
		Claims: db, Records: db, Hosts: db, Orders: db, Builds: db, Queue: tickets, Engine: eng,
		Blobs:     artifacts.NewBlobs(store, home),
		Seat:      seat.New(nil, dir, db, seat.Options{Worker: name, Lease: o.Lease, Machine: seat.ThisMachine()}),
		Farm:      membership{db},
		Intake:    queue.NewIntake(intakeRedis, queue.IntakeOptions{Host: o.HostID, Queues: o.Queues, Slots: c.Slots, AffinityWait: o.AffinityWait}),
		Admission: worker.Fetch(contexts.NewFetcher(contexts.Options{TempDir: home}).Fetch),
		Images:    images.New(nil, eng, images.NewNotes(filepath.Join(home, "images"), enginetest.NormalName), func() images.Rules { return images.Rules{} }),
		Pins:      pins.New(nil, eng, db),
		Observer:  &slots{all: w},
	}, o)
	reconciling, stopReconciling := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() {
		reconcile.New(nil, db, tickets, uuid.NewString(), reconcile.Options{}).Run(reconciling)
	})
	defer background.Wait()
	defer stopReconciling()
	hurry, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, cancel) })()
	return work.Run(ctx, hurry)
}

// forGood keeps all that has ended.
func forGood() records.Options {
	return records.Options{Retention: records.Retention{Age: 1000 * 24 * time.Hour, Count: 1 << 40}}
}

// membership joins the farm as a worker's process does.
type membership struct{ *records.DB }

// Join implements worker.Farm.
func (m membership) Join(ctx context.Context) (string, error) { return m.JoinFarm(ctx, "default") }

// slots is a worker.Observer that measures how long its slots are free.
type slots struct {
	all *freed

	mu   sync.Mutex  // guards the rest
	free []time.Time // when each slot that had a job became free, the oldest first
}

// Claimed implements worker.Observer.
func (s *slots) Claimed(string, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) > 0 {
		s.all.add(s.free[0])
		s.free = s.free[1:]
	}
}

// Concluded implements worker.Observer. Little is left to do then before the slot is free.
func (s *slots) Concluded(string, jobs.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, time.Now())
}

// GivenUp implements worker.Observer.
func (*slots) GivenUp(string, *jobs.Failure) {}

// Slots implements worker.Observer.
func (*slots) Slots(int, int) {}

// freed gathers how long the slots of a process were free.
type freed struct {
	mu   sync.Mutex // guards the rest
	all  []time.Duration
	from time.Time // when they were taken last
}

// add notes that a slot has got a job. One that was free before the last readings had
// nothing to do.
func (f *freed) add(since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since.After(f.from) {
		f.all = append(f.all, time.Since(since))
	}
}

func (f *freed) take() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.all
	f.all, f.from = nil, time.Now()
	return all
}

// processCPU is the time that the process has used.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is what the process has in memory, after what it does not need any more went.
func resident() int64 {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	var size, pages int64
	if err == nil {
		_, err = fmt.Sscan(string(text), &size, &pages)
	}
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// producer submits jobs, and reads what became of them.
func producer(rdb redis.UniversalClient) (*records.DB, *jobs.Service) {
	db := records.New(rdb, forGood())
	return db, jobs.NewService(db, queue.New(rdb), func() string { return uuid.Must(uuid.NewV7()).String() })
}
