package worker_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/worker"
)

// storeCheck is a Deps.CheckStore that finds what it is told to, and counts.
type storeCheck struct {
	mu           sync.Mutex
	wrong        error // what every look finds
	readOnly     error // what only a proof finds
	looks, proof int
}

func (c *storeCheck) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *storeCheck) counts() (looks, proofs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looks, c.proof
}

func (c *storeCheck) check(_ context.Context, prove bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	if prove {
		c.proof++
		return errors.Join(c.wrong, c.readOnly)
	}
	return c.wrong
}

// A worker looks at its store before its first job, takes none while something is
// wrong with it, says what, and goes on by itself.
func TestStoreIsLookedAtBeforeTheFirstJob(t *testing.T) {
	t.Parallel()
	for _, only := range []string{"wrong", "read only"} {
		t.Run(only, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			c := &storeCheck{}
			const why = "the artifact store at /mnt/store is not this farm's"
			if only == "wrong" {
				c.wrong = errors.New(why)
			} else {
				c.readOnly = errors.New(why)
			}
			f.checkStore = c.check
			id := f.submit(shell("true"))
			w := f.start()
			f.eventually("the worker says why it is unfit", func() bool { return w.Unfit() != nil && strings.Contains(w.Unfit().Error(), why) })
			f.eventually("it goes on looking", func() bool { looks, _ := c.counts(); return looks > 5 })
			if job := f.job(id); job.State != jobs.Queued || job.Losses != 0 {
				t.Errorf("the job is %s with %d losses", job.State, job.Losses)
			}
			c.set(func() { c.wrong, c.readOnly = nil, nil })
			if job := f.ended(id); job.State != jobs.Succeeded || job.Attempt != 1 {
				t.Errorf("the job is %s at attempt %d once the store is well", job.State, job.Attempt)
			}
			if w.Unfit() != nil {
				t.Errorf("the worker is still unfit: %v", w.Unfit())
			}
			_, proofs := c.counts()
			looks, _ := c.counts()
			f.eventually("it looks now and then", func() bool { n, _ := c.counts(); return n > looks+3 })
			if _, now := c.counts(); now != proofs {
				t.Errorf("a store that is well was written to %d times while nothing happened", now-proofs)
			}
		})
	}
}

// A store that goes away under its jobs costs each one loss at most: the first that
// fails because of it has the store prove itself before the next is taken.
func TestStoreFailsAJob(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.files["Dockerfile"] = "FROM busybox\n"
	c := &storeCheck{}
	f.checkStore = c.check
	ours := artifacts.Mark{Farm: "farm", Store: "store"}
	if err := f.store.SetMark(t.Context(), ours, false); err != nil {
		t.Fatal(err)
	}
	f.store.Expect(ours)
	working := f.fetch
	var mu sync.Mutex
	failing, fetches := true, 0
	f.fetch = func(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		fetches++
		if failing {
			return nil, artifacts.StoreFailure(artifacts.Foreign("/mnt/store", artifacts.Mark{}, ours), c.Ref)
		}
		return working(ctx, c)
	}
	w := f.start()
	f.eventually("the worker looked at its store", func() bool { _, proofs := c.counts(); return proofs > 0 && w.Unfit() == nil })
	c.set(func() { c.readOnly = errors.New("it is not mounted") })
	var ids []string
	for range 12 {
		ids = append(ids, f.submit(buildOf()))
	}
	f.eventually("the worker is unfit", func() bool { return w.Unfit() != nil })
	lost := func() (n int) {
		for _, id := range ids {
			n += f.job(id).Losses
		}
		return n
	}
	f.memory.Advance(time.Minute)
	f.queue.Advance(time.Minute)
	looks, _ := c.counts()
	f.eventually("it goes on looking", func() bool { n, _ := c.counts(); return n > looks+5 })
	f.eventually("what ran is lost", func() bool { return lost() > 0 })
	if n := lost(); n > 4 { // it has four slots
		t.Errorf("%d losses, want one for each job that ran", n)
	}
	mu.Lock()
	failing = false
	mu.Unlock()
	c.set(func() { c.readOnly = nil })
	for _, id := range ids {
		f.queue.Advance(time.Minute)
		f.memory.Advance(time.Minute)
		if job := f.ended(id); job.State != jobs.Succeeded || job.Losses > 1 || job.Retries != 0 {
			t.Errorf("job %s is %s with %d losses and %d retries", id, job.State, job.Losses, job.Retries)
		}
	}
}

// A log that the store does not take is the store's failure, too.
func TestStoreTakesNoLog(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	c := &storeCheck{}
	f.checkStore = c.check
	ours := artifacts.Mark{Farm: "farm", Store: "store"}
	if err := f.store.SetMark(t.Context(), ours, false); err != nil {
		t.Fatal(err)
	}
	f.store.Expect(ours)
	w := f.start()
	id := f.submit(shell("echo hello; sleep 0.2"))
	f.containerRuns(id)
	undo := f.store.Swap()
	f.eventually("the worker waits for its store", func() bool { return f.store.Puts() > 0 })
	if n := f.store.Len(); n != 0 {
		t.Errorf("%d blobs were written into the store that is not the farm's", n)
	}
	undo()
	job := f.ended(id)
	if job.State != jobs.Succeeded || job.Result.Log.Digest == "" {
		t.Errorf("the job is %s, %+v, want its log in the store that came back", job.State, job.Result)
	}
	if w.Unfit() != nil {
		t.Errorf("the worker is unfit: %v", w.Unfit())
	}
}

// A fetch from the store that takes too long may be a store that hangs; one from
// elsewhere says nothing about it.
func TestSlowFetchDoubtsTheStore(t *testing.T) {
	t.Parallel()
	for ref, doubts := range map[string]bool{"file:///c.tar": false, "cas:sha256:" + strings.Repeat("0", 64): true} {
		t.Run(ref, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			f.fetch = func(ctx context.Context, _ jobs.Context) (io.ReadCloser, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			c := &storeCheck{}
			f.checkStore = c.check
			w := f.start(func(o *worker.Options) { o.Timeouts.Fetch = jobs.Duration(50 * time.Millisecond) })
			f.eventually("the worker looked at its store", func() bool { _, proofs := c.counts(); return proofs > 0 && w.Unfit() == nil })
			_, before := c.counts()
			id := f.submit(jobs.Spec{Context: &jobs.Context{Ref: ref}, Build: &jobs.Build{}})
			f.eventually("the job is lost once", func() bool { return f.job(id).Losses > 0 })
			looks, _ := c.counts()
			f.eventually("it looks again", func() bool { n, _ := c.counts(); return n > looks+1 })
			if _, now := c.counts(); (now > before) != doubts {
				t.Errorf("the store was written to %d times, want that it was: %t", now-before, doubts)
			}
		})
	}
}
