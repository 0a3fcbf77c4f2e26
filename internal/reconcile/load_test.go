package reconcile_test

import (
	"context"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/reconcile"
)

// depths is a queue in which jobs wait, and how often it was looked at.
type depths struct {
	jobs.Queue
	waiting []jobs.Depth
	looked  int
}

func (d *depths) Queues(context.Context) ([]string, error) { return []string{jobs.DefaultQueue}, nil }

func (d *depths) Depths(context.Context, ...string) ([]jobs.Depth, error) {
	d.looked++
	return d.waiting, nil
}

func (*depths) Paused(context.Context, ...string) ([]jobs.Pause, error) { return nil, nil }

// shown is what was shown of the load last.
type shown struct {
	load jobs.Load
	keep time.Duration
}

func (s *shown) Load(l jobs.Load, keep time.Duration) { s.load, s.keep = l, keep }

// The reconciler that leads reads the load every 15 s at most, and one that does not lead any
// more takes back what it said.
func TestLoadIsWatched(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	looks := &depths{waiting: []jobs.Depth{{Queue: jobs.DefaultQueue, Priority: jobs.PriorityNormal, Waiting: 3}}}
	f.queue.Queue = looks
	var seen shown
	leader := reconcile.New(nil, f.DB, f.queue, "leader", reconcile.Options{Watched: &seen})
	pass := func() {
		t.Helper()
		if err := leader.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	if seen.load.Queues == nil || seen.load.Queues[0].Waiting != 3 || seen.load.Queues[0].Blocker != jobs.BlockedByNoWorker || seen.keep != 30*time.Second {
		t.Errorf("shown %+v; want what waits for a worker, for half a minute", seen)
	}
	for range 12 {
		f.move(5 * time.Second)
		pass()
	}
	if looks.looked != 5 {
		t.Errorf("%d looks in a minute; want one each 15 s", looks.looked)
	}
	f.move(time.Minute)
	second := reconcile.New(nil, f.DB, f.queue, "second", reconcile.Options{})
	if err := second.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	pass()
	if looks.looked != 5 || seen.keep != 0 || seen.load.Queues != nil {
		t.Errorf("%d looks, shown %+v; want nothing of one that does not lead", looks.looked, seen)
	}
}

// A farm with many queues is looked at less often, so that an idle one costs half a command
// a second.
func TestLoadOfAnIdleFarm(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	looks := &manyQueues{}
	f.queue.Queue = looks
	leader := reconcile.New(nil, f.DB, f.queue, "leader", reconcile.Options{Watched: &shown{}})
	for range 13 {
		if err := leader.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.move(5 * time.Second)
	}
	if looks.looked != 2 { // 23 commands, each for two seconds
		t.Errorf("%d looks in a minute at 20 queues; want 2", looks.looked)
	}
}

type manyQueues struct{ depths }

func (*manyQueues) Queues(context.Context) ([]string, error) { return make([]string, 20), nil }
