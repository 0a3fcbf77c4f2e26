package rebuild_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// newPromotable is a rebuild with an image whose tag is to be moved.
func newPromotable(t *testing.T) *works {
	t.Helper()
	w := newChain(t, nil)
	w.finish("base", "")
	w.advance()
	return w
}

// runPromoter runs one that looks at the rebuild once, and at what it says by itself, until
// ctx or the test ends.
func (w *works) runPromoter(ctx context.Context, nonce string, rebuilds jobs.Rebuilds, gate rebuild.Gate, moved func(context.Context, string) error) {
	w.t.Helper()
	ctx, end := context.WithCancel(ctx)
	p := rebuild.NewPromoter(nil, rebuilds, w.memory, w.svc, w.registry, rebuild.PromoterOptions{Nonce: nonce, Gate: gate})
	var all sync.WaitGroup
	w.t.Cleanup(func() {
		end()
		all.Wait()
	})
	all.Go(func() { p.Run(ctx, moved) })
	p.Wake(w.head.ID, []string{"base"})
}

// A promoter that dies leaves its turn behind. The one that was asked meanwhile goes on soon,
// and without being asked again.
func TestPromoterDies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newPromotable(t)
		ctx, dies := context.WithCancel(t.Context())
		w.registry.Says(func(call, _ string) error {
			if call != "retag" {
				return nil
			}
			w.registry.Says(func(string, string) error { return nil })
			dies()
			return context.Canceled
		})
		w.runPromoter(ctx, "p-1", w.memory, nil, w.runner.Advance)
		time.Sleep(time.Second)
		w.runPromoter(t.Context(), "p-2", w.memory, nil, w.runner.Advance)
		time.Sleep(30 * time.Second)
		w.want("half a minute later", "running", "base done", "app building", "side building", "top waiting")
	})
}

// A promoter has its turn for as long as a step takes: no other asks the gate, too.
func TestPromoterTakesItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newPromotable(t)
		var asked atomic.Int64
		gate := func(context.Context, rebuild.Candidate) (string, error) {
			asked.Add(1)
			time.Sleep(4 * time.Minute)
			return "", nil
		}
		w.runPromoter(t.Context(), "p-1", w.memory, gate, w.runner.Advance)
		time.Sleep(time.Second)
		w.runPromoter(t.Context(), "p-2", w.memory, gate, w.runner.Advance)
		time.Sleep(5 * time.Minute)
		w.want("five minutes later", "running", "base done", "app building", "side building", "top waiting")
		if n := asked.Load(); n != 1 {
			t.Errorf("the gate was asked %d times, want once", n)
		}
	})
}

// overslept loses the turn once it has slept.
type overslept struct {
	*jobstest.Memory
	slept atomic.Bool
}

func (o *overslept) PromoteTurn(ctx context.Context, nonce string, ttl time.Duration) (bool, error) {
	if o.slept.Load() {
		return false, nil
	}
	return o.Memory.PromoteTurn(ctx, nonce, ttl)
}

// A process that was stopped for longer than its turn, when it knew already what a tag had,
// moves it no more: another may have moved it there and back.
func TestPromoterOversleeps(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newPromotable(t)
			if back {
				w.promote(nil)
				for _, name := range []string{"app", "side", "top"} {
					w.finish(name, "")
					w.promote(nil)
				}
				if began, err := w.runner.Rollback(t.Context(), "r-1"); err != nil || !began {
					t.Fatalf("Rollback = %t, %v", began, err)
				}
			}
			before := len(w.registry.Moves())
			rebuilds, looked := &overslept{Memory: w.memory}, 0
			w.registry.Says(func(call, _ string) error {
				if call == "tagged" {
					looked++
				}
				rebuilds.slept.Store(looked == 2 || back)
				return nil
			})
			p := rebuild.NewPromoter(nil, rebuilds, w.memory, w.svc, w.registry, rebuild.PromoterOptions{Nonce: "p-1"})
			if changed, err := p.Promote(t.Context(), "r-1"); changed || err != nil {
				t.Errorf("Promote = %t, %v; want nothing", changed, err)
			}
			if moves := w.registry.Moves()[before:]; len(moves) > 0 || looked == 0 {
				t.Errorf("moved %q after %d looks", moves, looked)
			}
		})
	}
}

// silent is a Redis that does not answer, for a time.
type silent struct {
	*jobstest.Memory
	until time.Time
}

func (s *silent) Rebuild(ctx context.Context, id string, names ...string) (jobs.Rebuild, []jobs.RebuildImage, error) {
	if time.Now().Before(s.until) {
		return jobs.Rebuild{}, nil, errShaky
	}
	return s.Memory.Rebuild(ctx, id, names...)
}

// A Redis that is away for a moment costs that, whether tags were to be moved then or what
// stands on them was to be begun.
func TestPromoterOfASilentRedis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newPromotable(t)
		failed := 0
		w.runPromoter(t.Context(), "p-1", &silent{w.memory, time.Now().Add(7 * time.Second)}, nil, func(ctx context.Context, id string) error {
			if failed++; failed < 3 {
				return errors.New("not now")
			}
			return w.runner.Advance(ctx, id)
		})
		time.Sleep(30 * time.Second)
		w.want("half a minute later", "running", "base done", "app building", "side building", "top waiting")
		if failed != 3 {
			t.Errorf("the rebuild was moved on %d times, want until that worked", failed)
		}
	})
}
