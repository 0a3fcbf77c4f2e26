package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// heard keeps what an observer is told.
type heard struct {
	mu   sync.Mutex // guards what follows
	list []string
}

func (h *heard) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, fmt.Sprintf(format, args...))
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

func (h *heard) Claimed(string, time.Duration) {}
func (h *heard) Slots(int, int)                {}

func (h *heard) Concluded(queue string, r jobs.Result) {
	kind := jobs.Kind("")
	if r.Failure != nil {
		kind = r.Failure.Kind
	}
	h.add("concluded %s %s %s", queue, r.State, kind)
}

func (h *heard) GivenUp(queue string, f *jobs.Failure) {
	kind := jobs.Kind("drain")
	if f != nil {
		kind = f.Kind
	}
	h.add("given up %s %s", queue, kind)
}

// An observer hears of each attempt once, how it ended or why it did not end its job.
func TestObserver(t *testing.T) {
	t.Parallel()
	t.Run("a loss and an end", func(t *testing.T) {
		t.Parallel()
		f, h := newFarm(t), &heard{}
		f.observer = h
		failed := false
		f.engine.Hook(func(_ context.Context, op, _ string) error {
			if op == "create" && !failed {
				failed = true
				return jobs.Fail(jobs.KindDaemonLost, nil, "", "the engine died")
			}
			return nil
		})
		f.start()
		f.ended(f.submit(shell("true")))
		want := []string{"given up builds daemon_lost", "concluded builds succeeded "}
		f.eventually("the observer has heard of both attempts", func() bool { return len(h.all()) >= 2 })
		if got := h.all(); !slices.Equal(got, want) {
			t.Errorf("heard %q; want %q", got, want)
		}
	})
	t.Run("a lost lease", func(t *testing.T) {
		t.Parallel()
		f, h := newFarm(t), &heard{}
		f.observer = h
		f.start()
		id := f.submit(shell("sleep 60"))
		f.containerRuns(id)
		if _, err := f.memory.Adopt(t.Context(), id, jobs.Owner{Worker: "other", Host: "host-1", Nonce: "other", Lease: time.Hour}); err != nil {
			t.Fatal(err)
		}
		f.empty()
		if got := h.all(); !slices.Equal(got, []string{"given up builds worker_lost"}) {
			t.Errorf("heard %q; want the loss", got)
		}
	})
	t.Run("a drain", func(t *testing.T) {
		t.Parallel()
		f, h := newFarm(t), &heard{}
		f.observer = h
		w := f.start()
		f.eventually("the worker takes jobs", func() bool { return w.Taking() == nil })
		id := f.submit(shell("sleep 60"))
		f.containerRuns(id)
		w.stop()
		w.hurry()
		w.end(t)
		if got := h.all(); !slices.Equal(got, []string{"given up builds drain"}) {
			t.Errorf("heard %q; want the attempt given up", got)
		}
		if err := w.Taking(); err == nil || !strings.Contains(err.Error(), "drains") {
			t.Errorf("takes jobs: %v; want it to say that it drains", err)
		}
	})
}

// A worker that looks at its host for the first time takes no jobs, and says so.
func TestTakingBegins(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	looked := make(chan struct{})
	f.probe = func(ctx context.Context, _ map[string]string) error {
		select {
		case <-looked:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w := f.start()
	if err := w.Taking(); err == nil || !strings.Contains(err.Error(), "has just started") {
		t.Errorf("takes jobs: %v; want it to look at its host first", err)
	}
	close(looked)
	f.eventually("the worker takes jobs", func() bool { return w.Taking() == nil })
}
