package simulation

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/faults"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/oracle"
)

var (
	seedFlag = flag.Uint64("seed", 1, "seed of the first farm; 0 draws one")
	jobsFlag = flag.Int("jobs", smallRun, "how many jobs are run in all")
	eachFlag = flag.Int("each", 500, "how many jobs a farm gets")
	logFlag  = flag.Bool("farmlog", false, "print the workers' logs")
)

// smallRun is what every run of the tests can afford.
const smallRun = 600

// TestFarm runs farms until all jobs are through, two at a time.
func TestFarm(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 32
	}
	first, began := seed, time.Now()
	var mu sync.Mutex
	ran, faults := 0, map[string]int{}
	t.Run("farms", func(t *testing.T) {
		for left := *jobsFlag; left > 0; left -= *eachFlag {
			n, s := min(left, *eachFlag), seed
			seed++
			t.Run(fmt.Sprint("seed=", s), func(t *testing.T) {
				t.Parallel()
				simulate(t, s, n, func(l *oracle.Oracle) {
					mu.Lock()
					defer mu.Unlock()
					ran += n
					for kind, n := range l.Faults() {
						faults[kind] += n
					}
				})
			})
		}
	})
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(faults)) {
		total += faults[kind]
		if testing.Verbose() {
			t.Logf("%7d %s", faults[kind], kind)
		}
	}
	summary := fmt.Sprintf("%d jobs, %d faults of %d kinds, seeds from %d on, %s", ran, total, len(faults), first, time.Since(began).Round(time.Millisecond))
	t.Log(summary)
	if *jobsFlag > smallRun && !t.Failed() {
		fmt.Println(summary + ", 0 violations") // also without -v
	}
}

// simulate runs one farm to its end and reports what was broken; count gets its
// oracle.
func simulate(t *testing.T, seed uint64, n int, count func(*oracle.Oracle)) {
	dir, err := os.MkdirTemp(memoryDir(), "slipway-simulation-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("again: go test ./internal/simulation -seed %d -jobs %d -each %d", seed, n, n)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		if *logFlag {
			log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		f := newFarm(seed, dir, log)
		f.run(t, n)
		count(f.oracle)
		found := f.oracle.Violations()
		for _, v := range found[:min(5, len(found))] {
			t.Error(v)
		}
		if len(found) > 5 {
			t.Errorf("and %d more", len(found)-5)
		}
	})
}

// memoryDir is where files cost no disk, if there is such a place.
func memoryDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// run is the life of a farm: jobs come, faults come, all is mended, and then
// everything has to come to its end.
func (f *farm) run(t *testing.T, n int) {
	r := rand.New(rand.NewPCG(f.seed, 0))
	living, end := context.WithCancel(t.Context())
	defer end()
	var keepers sync.WaitGroup
	for _, h := range f.hosts {
		keepers.Go(func() { h.keepRunning(living) })
	}
	synctest.Wait() // the first workers are there
	ids := jobstest.NewIDs()
	producer := jobs.NewService(faults.Records(f.truth, f.producing), faults.Queue(f.queue, f.producing), ids)
	mischief, calm := context.WithCancel(t.Context())
	var monkeys sync.WaitGroup
	for i := range 2 {
		monkeys.Go(func() { f.monkey(mischief, rand.New(rand.NewPCG(f.seed, uint64(i+1))), producer) })
	}
	monkeys.Go(func() { f.rebuilding(mischief, rand.New(rand.NewPCG(f.seed, 9))) })
	for i := range n {
		f.submit(producer, newTask(r, i))
		time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	}
	calm()
	monkeys.Wait()
	time.Sleep(4 * lease) // until what is stopped goes on
	f.healed.Store(true)
	f.resumeAll()
	f.settle(t)
	time.Sleep(3 * time.Minute) // notes on builds go with the second look, a minute after the first

	end()
	for _, h := range f.hosts {
		h.current().stop()
	}
	for _, h := range f.hosts {
		<-h.current().ended
	}
	keepers.Wait()
	f.audit(t)
	for _, h := range f.hosts { // what is left and runs would keep the bubble from ending
		for _, c := range h.engine.Containers() {
			h.engine.Lose(c.ID)
		}
	}
}

// settle waits until every job has ended and every kept service is gone.
func (f *farm) settle(t *testing.T) {
	for deadline := time.Now().Add(45 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		left := f.queue.Plain()
		for _, s := range []jobs.State{jobs.Queued, jobs.Waiting, jobs.Running} {
			found, _, _ := f.truth.Scan(t.Context(), s, 0, 1<<20)
			left += len(found)
		}
		for _, h := range f.hosts {
			left += len(h.engine.Containers())
		}
		up, _ := f.truth.List(t.Context(), jobs.Query{Up: true})
		left += len(up.Jobs)
		left += f.unfinished(t.Context())
		for _, reader := range []string{"metrics", "recipes"} {
			unread, _ := f.truth.Ended(t.Context(), reader, 1)
			left += len(unread.Jobs)
		}
		if left == 0 {
			return
		}
	}
}

// eachJob calls do with every job of the farm.
func (f *farm) eachJob(t *testing.T, do func(jobs.Job)) {
	for q := (jobs.Query{Limit: 200}); ; {
		page, err := f.truth.List(t.Context(), q)
		if err != nil {
			t.Error(err)
			return
		}
		for _, job := range page.Jobs {
			do(job)
		}
		if q.PageToken = page.NextPageToken; q.PageToken == "" {
			return
		}
	}
}

// auditRecipes checks that each name has the recipe of the newest job that built it.
func (f *farm) auditRecipes(t *testing.T) {
	want := map[string]jobs.Recipe{}
	promoted, again := f.promoted(t)
	f.eachJob(t, func(job jobs.Job) {
		r, ok := jobs.RecipeOf(job)
		if c := job.Spec.Cause; c != nil && len(c.Tags) > 0 && !promoted[job.ID] {
			return
		}
		have, known := want[r.Name]
		if ok && (!known || r.Made.After(have.Made) || r.Made.Equal(have.Made) && r.Job > have.Job) {
			want[r.Name] = r
		}
	})
	got, err := f.truth.AllRecipes(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, r := range got {
		if want[r.Name].Job != r.Job && !again[r.Name] { // an older one may be back
			f.oracle.Violation("I11 the recipe %s is of job %s, want %q", r.Name, r.Job, want[r.Name].Job)
		}
		delete(want, r.Name)
	}
	for name, r := range want {
		f.oracle.Violation("I11 there is no recipe %s, which job %s built", name, r.Job)
	}
}

// audit holds what is left against what there should be.
func (f *farm) audit(t *testing.T) {
	f.oracle.Audit(t.Context(), f.truth, artifacts.NewBlobs(f.blobs, ""), nil)
	f.auditRecipes(t)
	f.auditRebuilds(t)
	f.auditTags(t)
	for _, h := range f.hosts {
		for _, c := range h.engine.Containers() {
			f.oracle.Violation("I4 container %s is left on %s", c.Name, h.name)
		}
		for _, tag := range h.engine.Tags() {
			if strings.HasPrefix(tag, "slipway-job/") {
				f.oracle.Violation("I4 image %s is left on %s", tag, h.name)
			}
		}
		for _, id := range h.engine.Nameless() {
			f.oracle.Violation("I4 image %s, which has no name, is left on %s", id, h.name)
		}
		files, err := oracle.Leftovers(h.dir)
		if err != nil {
			t.Error(err)
		}
		for _, file := range files {
			f.oracle.Violation("I4 %s is left on %s", file, h.name)
		}
	}
}
