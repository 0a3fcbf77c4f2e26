package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
	"github.com/slipway-farm/slipway/internal/rebuild/rebuildtest"
)

// promoter is one that moves the tags of the rebuild.
func (w *works) promoter(gate rebuild.Gate) *rebuild.Promoter {
	return rebuild.NewPromoter(nil, w.memory, w.memory, w.svc, w.registry, rebuild.PromoterOptions{Nonce: "p-1", Gate: gate, Settle: 1})
}

// promote has tags moved, and the rebuild moved on.
func (w *works) promote(gate rebuild.Gate) {
	w.t.Helper()
	w.advance()
	if _, err := w.promoter(gate).Promote(w.t.Context(), w.head.ID); err != nil {
		w.t.Fatal(err)
	}
	w.advance()
}

// of returns an image of the rebuild, and what the registry has under its tag.
func (w *works) of(name string) (jobs.RebuildImage, string) {
	w.t.Helper()
	_, images := w.read()
	return images[slices.IndexFunc(images, func(img jobs.RebuildImage) bool { return img.Name == name })], w.registry.At(name)
}

// chain is three images on each other, and one beside them.
func chain() []jobs.Recipe {
	return []jobs.Recipe{recipe("base", "debian:12"), recipe("app", "base"), recipe("top", "app"), recipe("side", "base")}
}

func newChain(t *testing.T, change func(*rebuild.Order)) *works {
	t.Helper()
	return newWorksWith(t, rebuildtest.NewRegistry(chain()), chain(), debian, change)
}

// The tags of an image move when it is verified, and what stands on it begins then.
func TestPromote(t *testing.T) {
	t.Parallel()
	w := newChain(t, nil)
	img, _ := w.of("base")
	job, err := w.svc.Get(t.Context(), img.Job)
	if err != nil || !slices.Equal(job.Spec.Cause.Tags, []string{"base"}) || !strings.HasPrefix(job.Spec.Build.Tags[0], "docker.io/library/base:slipway-") {
		t.Fatalf("the job is %+v, %v; want one that pushes under a tag of its own", job.Spec, err)
	}
	w.finish("base", "")
	w.advance()
	w.want("built", "running", "base promoting", "app waiting", "side waiting", "top waiting")
	if _, tag := w.of("base"); tag != "old base" {
		t.Errorf("the tag is at %s before it is verified", tag)
	}
	w.promote(nil)
	w.want("promoted", "running", "base done", "app building", "side building", "top waiting")
	img, tag := w.of("base")
	if tag != img.Moves[0].To || img.Moves[0].From != "old base" {
		t.Errorf("the tag is at %s, %+v; want it moved", tag, img.Moves)
	}
	if img.Promoted.IsZero() || img.Gated || len(img.Bases) > 0 {
		t.Errorf("%+v; want when it was promoted, and no new base", img)
	}
	r, err := w.memory.Recipe(t.Context(), "base")
	if err != nil || r.Job != img.Job || r.Previous == nil || r.Previous.Job != "job of base" || !slices.Equal(r.Tags, []string{"base"}) || r.Spec.Cause != nil || !slices.Equal(r.Spec.Build.Tags, []string{"base"}) {
		t.Errorf("the recipe is %+v, %v; want that of the new image, with the one before", r, err)
	}
	for _, name := range []string{"app", "side"} {
		w.finish(name, "")
	}
	w.promote(nil)
	if app, _ := w.of("app"); !slices.Equal(app.Bases, []jobs.BaseMove{{Ref: "docker.io/library/base:latest", From: "digest of base", To: tag}}) {
		t.Errorf("app stands on %+v, want the new base", app.Bases)
	}
	w.finish("top", "")
	w.promote(nil)
	w.want("the end", "done", "base done", "app done", "side done", "top done")
	if len(w.registry.Moves()) != 4 {
		t.Errorf("moved: %q", w.registry.Moves())
	}

	if ok, err := w.runner.Rollback(t.Context(), "r-1"); err != nil || !ok {
		t.Fatalf("Rollback = %t, %v", ok, err)
	}
	w.registry.Push("side", "another's")
	w.promote(nil)
	w.want("rolled back", "rolled_back", "base rolled_back", "app rolled_back", "side rolled_back: left as they are: side:latest", "top rolled_back")
	for name, want := range map[string]string{"base": "old base", "app": "old app", "top": "old top", "side": "another's"} {
		if _, tag := w.of(name); tag != want {
			t.Errorf("%s is at %s, want %s", name, tag, want)
		}
		if r, err := w.memory.Recipe(t.Context(), name); err != nil || r.Job != "job of "+name {
			t.Errorf("the recipe of %s is of %s, %v; want that of before", name, r.Job, err)
		}
	}
	if ok, err := w.runner.Rollback(t.Context(), "r-1"); err != nil || ok {
		t.Errorf("Rollback once more = %t, %v; want nothing to do", ok, err)
	}
	if ok, err := w.runner.Retry(t.Context(), "r-1"); err != nil || ok {
		t.Errorf("Retry = %t, %v; want nothing to do", ok, err)
	}
}

// What was built on an image of before is refused.
func TestVerify(t *testing.T) {
	t.Parallel()
	w := newChain(t, nil)
	w.finish("base", "")
	w.promote(nil)
	img, now := w.of("base")
	w.registry.Push("base", "old base") // what a daemon that does not look has
	w.finish("app", "")
	w.registry.Push("base", now)
	w.finish("side", "")
	w.promote(nil)
	w.want("the end", "failed", "base done", "app failed: it was built on base:latest as old base, and not on the new image, "+img.Moves[0].To,
		"side done", "top blocked: it stands on app, which is failed")
	if _, tag := w.of("app"); tag != "old app" {
		t.Errorf("the tag of what was refused is at %s", tag)
	}
}

// What was built on a base of before is refused, too, where the farm knows that it has
// changed. A base that another build has used in between is no business of this one.
func TestVerifyBase(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, digest, want string
	}{
		{"the new one", "sha256:new", "promoting"},
		{"a newer one", "sha256:newer", "promoting"},
		{"the one before", "digest of debian:12", "failed: it was built on debian:12 as digest of debian:12, which is sha256:new by now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			base := recipe("base", "debian:12")
			plan, err := rebuild.NewGraph([]jobs.Recipe{base}, []jobs.Base{{Ref: debianRef, Digest: "sha256:new"}}).Plan(rebuild.Question{Stale: true}, now)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorksWith(t, rebuildtest.NewRegistry([]jobs.Recipe{base}), []jobs.Recipe{base}, debian, nil)
			head, images, err := plan.Begin(rebuild.Order{ID: "r-2", MaxParallel: 1}, now)
			if err == nil {
				err = w.memory.ForgetRebuild(t.Context(), w.head)
			}
			if err == nil {
				err = w.memory.BeginRebuild(t.Context(), head, images)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.head = head
			w.registry.Push("debian:12", tt.digest)
			w.advance()
			w.finish("base", "")
			w.advance()
			w.want("built", map[bool]string{true: "failed", false: "running"}[strings.HasPrefix(tt.want, "failed")], "base "+tt.want)
		})
	}
}

// An image whose content is what it was stays, and so does what stands on it alone.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	w := newChain(t, nil)
	w.finish("base", "")
	w.promote(nil)
	w.finish("app", "")
	w.finish("side", "")
	app, _ := w.of("app")
	job, err := w.svc.Get(t.Context(), app.Job)
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(job.Result.RepoDigests[0], "@")
	w.registry.SayUnchanged(digest)
	w.promote(nil)
	w.want("the end", "done", "base done", "app unchanged: its content is what it was", "side done", "top unchanged: nothing that it stands on has changed")
	base, tag := w.of("base")
	if _, tag := w.of("app"); tag != "old app" {
		t.Errorf("the tag of what is unchanged is at %s", tag)
	}
	r, err := w.memory.Recipe(t.Context(), "app")
	if err != nil || r.Job != "job of app" || r.Materials[0].Digest != tag || base.Moves[0].To != tag {
		t.Errorf("the recipe is %+v, %v; want that of before, on the new base", r, err)
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	w := newChain(t, nil)
	w.finish("base", "")
	w.promote(func(_ context.Context, c rebuild.Candidate) (string, error) {
		if c.Name != "base" || c.Tags[0].From != "old base" || len(c.Materials) != 1 {
			t.Errorf("the gate got %+v", c)
		}
		return "", errors.New("ask the gate: connection refused")
	})
	w.want("it does not answer", "running", "base promoting: ask the gate: connection refused", "app waiting", "side waiting", "top waiting")
	w.promote(func(context.Context, rebuild.Candidate) (string, error) { return "CVE-2026-1 is in it", nil })
	w.want("it refuses", "failed", "base failed: the gate refused it: CVE-2026-1 is in it",
		"app blocked: it stands on base, which is failed", "side blocked: it stands on base, which is failed", "top blocked: it stands on app, which is blocked")
	if len(w.registry.Moves()) > 0 {
		t.Errorf("moved: %q", w.registry.Moves())
	}
}

// running has a promoter and a runner at work until the test ends.
func (w *works) running(gate rebuild.Gate) {
	ctx, end := context.WithCancel(w.t.Context())
	p := rebuild.NewPromoter(nil, w.memory, w.memory, w.svc, w.registry, rebuild.PromoterOptions{Nonce: "p-1", Gate: gate})
	w.runner = rebuild.NewRunner(nil, w.memory, w.memory, w.svc, p.Wake)
	var all sync.WaitGroup
	all.Go(func() { p.Run(ctx, w.runner.Advance) })
	w.t.Cleanup(func() {
		end()
		all.Wait()
	})
}

// A gate that does not answer for one image holds up no other.
func TestGateThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newChain(t, nil)
		w.running(func(ctx context.Context, c rebuild.Candidate) (string, error) {
			if c.Name == "app" {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "", nil
		})
		w.finish("base", "")
		w.advance()
		time.Sleep(3 * time.Second)
		w.finish("app", "")
		w.finish("side", "")
		w.advance()
		time.Sleep(3 * time.Second)
		w.want("the gate has app", "running", "base done", "app promoting", "side done", "top waiting")
		time.Sleep(5 * time.Minute)
		w.want("it did not answer", "running", "base done", "app promoting: context deadline exceeded", "side done", "top waiting")
	})
}

// What a gate has said counts, whatever has become of other images meanwhile; but not for a
// rebuild that was cancelled.
func TestSlowGate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		state jobs.RebuildState
		want  []string
	}{
		{"others change", jobs.RebuildRunning, []string{"done", "one done"}},
		{"cancelled", jobs.RebuildCancelling, []string{"cancelled", "one skipped: the rebuild was cancelled"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				one := recipe("one")
				w := newWorksWith(t, rebuildtest.NewRegistry([]jobs.Recipe{one}), []jobs.Recipe{one}, rebuild.Question{All: true}, nil)
				asked := 0
				w.running(func(context.Context, rebuild.Candidate) (string, error) {
					asked++
					time.Sleep(time.Minute)
					return "", nil
				})
				w.finish("one", "")
				w.advance()
				time.Sleep(10 * time.Second)
				for range 20 {
					w.become(tt.state)
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				w.advance()
				w.want("the end", tt.want...)
				if asked != 1 {
					t.Errorf("the gate was asked %d times", asked)
				}
			})
		})
	}
}

func TestCanary(t *testing.T) {
	t.Parallel()
	one := func(o *rebuild.Order) { o.Canaries = 1 }
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		w := newChain(t, one)
		w.finish("base", "")
		w.promote(nil)
		w.want("the canary builds", "running", "base done", "app waiting", "side building", "top waiting")
		w.finish("side", "")
		w.promote(nil)
		w.want("it is done", "paused", "base done", "app waiting", "side done", "top waiting")
		w.set(func(r *jobs.Rebuild) { r.State = jobs.RebuildRunning })
		w.want("the others", "running", "base done", "app building", "side done", "top waiting")
	})
	t.Run("bad", func(t *testing.T) {
		t.Parallel()
		w := newChain(t, one)
		w.finish("base", "")
		w.promote(nil)
		w.finish("side", "no")
		w.promote(nil)
		w.want("the end", "failed", "base done", "app skipped: the canary side is failed", "side failed: build_failed: no", "top skipped: the canary side is failed")
		if ok, err := w.runner.Retry(t.Context(), "r-1"); err != nil || !ok {
			t.Fatalf("Retry = %t, %v", ok, err)
		}
		w.advance()
		w.want("once more", "running", "base done", "app waiting", "side building", "top waiting")
	})
}

// A registry that is away holds up what it has, for so long; then the tags that were moved
// go back.
func TestRegistryInTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		two := recipe("two")
		two.Tags = []string{"two", "other/two:1"}
		w := newWorksWith(t, rebuildtest.NewRegistry([]jobs.Recipe{two}), []jobs.Recipe{two}, rebuild.Question{All: true}, nil)
		away := func(call, tag string) error {
			if call == "retag" && tag == "other/two:1" {
				return errors.New("move other/two:1: the registry said 503 Service Unavailable")
			}
			return nil
		}
		w.registry.Says(away)
		w.finish("two", "")
		for range 59 {
			w.promote(nil)
			w.want("away", "running", "two promoting: move other/two:1: the registry said 503 Service Unavailable")
			time.Sleep(time.Minute)
		}
		w.registry.Says(func(string, string) error { return errors.New("look at it: connection refused") })
		time.Sleep(2 * time.Minute)
		w.promote(nil)
		const why = "its tags could not be moved for 1h0m0s: look at it: connection refused"
		w.want("given up", "running", "two reverting: "+why)
		w.registry.Says(func(string, string) error { return nil })
		w.promote(nil)
		w.want("the end", "failed", "two failed: "+why)
		if diff := cmp.Diff(map[string]string{"docker.io/library/two:latest": "old two", "docker.io/other/two:1": "old two"}, w.registry.All()); diff != "" {
			t.Errorf("the tags (-want +got):\n%s", diff)
		}
	})
}

// A Redis that crashes loses its last second, and the registry does not: what the tag had
// before must not be in that second.
func TestRedisForgetsAPromotion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newChain(t, nil)
		w.finish("base", "")
		w.advance()
		var mu sync.Mutex
		var snapshots []func() // the newest last, one each 100 ms
		tick := time.NewTicker(100 * time.Millisecond)
		crashed := make(chan struct{})
		go func() {
			for {
				select {
				case <-tick.C:
				case <-crashed:
					return
				}
				mu.Lock()
				snapshots = append(snapshots, w.memory.Snapshot())
				mu.Unlock()
			}
		}()
		time.Sleep(5 * time.Second)
		crash := sync.OnceFunc(func() {
			mu.Lock()
			defer mu.Unlock()
			close(crashed)
			snapshots[len(snapshots)-11]() // of a second ago
		})
		defer crash()
		w.registry.Says(func(call, _ string) error {
			if call == "retagged" {
				crash()
			}
			return nil
		})
		p := rebuild.NewPromoter(nil, w.memory, w.memory, w.svc, w.registry, rebuild.PromoterOptions{Nonce: "p-1"})
		for range 2 {
			if _, err := p.Promote(t.Context(), "r-1"); err != nil {
				t.Fatal(err)
			}
			w.advance()
		}
		if img, tag := w.of("base"); img.State != jobs.ImageDone || img.Moves[0].From != "old base" || img.Moves[0].To != tag {
			t.Errorf("%s: %+v, and the tag is at %s; want what it had before", img.State, img.Moves, tag)
		}
	})
}

// A tag that another moves meanwhile is that one's, and so is an image that it builds.
func TestMovedByAnother(t *testing.T) {
	t.Parallel()
	t.Run("the tag", func(t *testing.T) {
		t.Parallel()
		w := newChain(t, nil)
		w.finish("base", "")
		w.registry.Says(func(call, tag string) error {
			if call == "retag" {
				w.registry.Push(tag, "another's")
				return errors.New("gone")
			}
			return nil
		})
		w.promote(nil)
		w.registry.Says(func(string, string) error { return nil })
		w.promote(nil)
		img, tag := w.of("base")
		if img.State != jobs.ImageFailed || !strings.Contains(img.Why, "base:latest was moved to another's by another") || tag != "another's" {
			t.Errorf("%s: %s, and the tag is at %s", img.State, img.Why, tag)
		}
	})
	t.Run("the tag, before it is looked at", func(t *testing.T) {
		t.Parallel()
		base := recipe("base")
		base.RepoDigests = []string{"docker.io/library/base@old base"}
		w := newWorksWith(t, rebuildtest.NewRegistry([]jobs.Recipe{base}), []jobs.Recipe{base}, rebuild.Question{All: true}, nil)
		w.registry.Push("base", "another's")
		w.finish("base", "")
		w.promote(nil)
		w.want("the end", "failed", "base failed: base:latest has another's, which job job of base did not push: another has moved it")
		if tag := w.registry.At("base"); tag != "another's" {
			t.Errorf("the tag is at %s", tag)
		}
	})
	t.Run("the recipe", func(t *testing.T) {
		t.Parallel()
		w := newChain(t, nil)
		newer := recipe("base", "debian:12")
		newer.Job, newer.Made = "newer", now
		newer.Spec = jobs.Spec{Name: "base", Build: &jobs.Build{Tags: newer.Tags, Push: true}, Context: &jobs.Context{Ref: "file:///a"}}.Normalize()
		if _, err := w.memory.Learn(t.Context(), newer); err != nil {
			t.Fatal(err)
		}
		w.finish("base", "")
		w.promote(nil)
		if img, tag := w.of("base"); img.State != jobs.ImageFailed || img.Why != "job newer has built the image of this name meanwhile" || tag != "old base" {
			t.Errorf("%s: %s, and the tag is at %s", img.State, img.Why, tag)
		}
	})
	t.Run("a cancel", func(t *testing.T) {
		t.Parallel()
		w := newChain(t, nil)
		w.finish("base", "")
		w.registry.Says(func(call, _ string) error {
			if call == "retagged" {
				return errors.New("connection reset")
			}
			return nil
		})
		w.promote(nil)
		w.registry.Says(func(string, string) error { return nil })
		w.set(func(r *jobs.Rebuild) { r.State = jobs.RebuildCancelling })
		w.promote(nil)
		head, _ := w.read()
		if img, tag := w.of("base"); head.State != jobs.RebuildCancelled || img.State != jobs.ImageSkipped || tag != "old base" {
			t.Errorf("%s, %s: %s, and the tag is at %s; want it back", head.State, img.State, img.Why, tag)
		}
	})
}

// Whatever fails in between, and however many promoters there are: a tag is moved once,
// before what stands on it is built, and a rollback brings every one back.
func TestPromotionsOfRandomGraphs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(*graphs) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			r := newDice(seed, 1)
			var recipes []jobs.Recipe
			for i := range graphSize(r, 30) {
				on := []string{"debian:12"}
				for range min(i, r.IntN(3)) {
					on = append(on, fmt.Sprint("image-", r.IntN(i)))
				}
				one := recipe(fmt.Sprint("image-", i), on...)
				if r.IntN(3) == 0 {
					one.Tags = append(one.Tags, "mirror.example/"+one.Name+":1")
				}
				recipes = append(recipes, one)
			}
			w := newWorksWith(t, rebuildtest.NewRegistry(recipes), recipes, debian, func(o *rebuild.Order) {
				o.MaxParallel, o.Canaries, o.AllOrNothing = parallel(r, len(recipes)), r.IntN(3), r.IntN(3) == 0
			})
			before := w.registry.All()
			w.registry.Says(func(string, string) error {
				if r.IntN(15) == 0 {
					return errShaky
				}
				return nil
			})
			carryOut(t, w, r, r.IntN(2)*5)
			judgeRebuild(t, w)
			judgeTags(t, w, before)
			if head := w.now(); head.AllOrNothing && head.State != jobs.RebuildDone {
				if diff := cmp.Diff(before, w.registry.All()); head.State != jobs.RebuildFailed || head.Why == "" || diff != "" {
					t.Errorf("all or nothing, and it is %s, because %q; the tags (-want +got):\n%s", head.State, head.Why, diff)
				}
			}
			if ok, err := w.runner.Rollback(t.Context(), w.head.ID); err != nil {
				t.Fatal(err)
			} else if ok {
				carryOut(t, w, r, 0)
			}
			if diff := cmp.Diff(before, w.registry.All()); diff != "" {
				t.Errorf("the tags after the rollback (-want +got):\n%s", diff)
			}
			for _, one := range recipes {
				if r, err := w.memory.Recipe(t.Context(), one.Name); err != nil || r.Job != one.Job {
					t.Errorf("the recipe of %s is of %s, %v; want that of before", one.Name, r.Job, err)
				}
			}
		})
	}
}

// Where all is wanted or nothing, what was done goes back once an image is not to be done, what
// builds is ended, and the rebuild has failed; it can be tried again.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	old := map[string]string{"docker.io/library/base:latest": "old base", "docker.io/library/app:latest": "old app", "docker.io/library/top:latest": "old top", "docker.io/library/side:latest": "old side"}
	begin := func(t *testing.T) *works {
		t.Helper()
		w := newChain(t, func(o *rebuild.Order) { o.AllOrNothing = true })
		w.finish("base", "")
		w.promote(nil)
		w.want("begun", "running", "base done", "app building", "side building", "top waiting")
		return w
	}
	undone := func(t *testing.T, w *works) {
		t.Helper()
		if diff := cmp.Diff(old, w.registry.All()); diff != "" {
			t.Errorf("the tags (-want +got):\n%s", diff)
		}
		if r, err := w.memory.Recipe(t.Context(), "base"); err != nil || r.Job != "job of base" {
			t.Errorf("the recipe of base is of %s, %v; want that of before", r.Job, err)
		}
		if ok, err := w.runner.Rollback(t.Context(), "r-1"); err != nil || ok {
			t.Errorf("Rollback = %t, %v; want nothing to do", ok, err)
		}
	}
	t.Run("a job fails", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		w.finish("app", "no")
		w.advance()
		const why = ": app is failed: all or nothing"
		w.want("it failed", "rolling_back", "base reverting"+why, "app failed: build_failed: no", "side skipped"+why, "top skipped"+why)
		w.promote(nil)
		w.want("the end", "failed", "base rolled_back"+why, "app failed: build_failed: no", "side skipped"+why, "top skipped"+why)
		if head, _ := w.read(); head.Why != "app is failed" || head.Ended.IsZero() {
			t.Errorf("the rebuild is %+v, want why it was undone", head)
		}
		undone(t, w)
		if ok, err := w.runner.Retry(t.Context(), "r-1"); err != nil || !ok {
			t.Fatalf("Retry = %t, %v", ok, err)
		}
		w.advance()
		for _, name := range []string{"base", "app", "side", "top"} {
			w.finish(name, "")
			w.promote(nil)
		}
		w.want("once more", "done", "base done", "app done", "side done", "top done")
		if head, _ := w.read(); head.Why != "" {
			t.Errorf("the rebuild is %+v", head)
		}
	})
	t.Run("a gate refuses, and another image has its turn", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		w.finish("app", "")
		w.finish("side", "")
		w.promote(func(_ context.Context, c rebuild.Candidate) (string, error) {
			if c.Name == "app" {
				return "no", nil
			}
			return "", errors.New("ask the gate: connection refused")
		})
		w.promote(nil)
		const why = ": app is failed: all or nothing"
		w.want("the end", "failed", "base rolled_back"+why, "app failed: the gate refused it: no", "side skipped"+why, "top skipped"+why)
		undone(t, w)
	})
	t.Run("it is cancelled", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		w.finish("app", "")
		w.set(func(r *jobs.Rebuild) { r.State, r.CancelledBy = jobs.RebuildCancelling, "bob" })
		w.promote(nil)
		const why = ": the rebuild was cancelled: all or nothing"
		w.want("the end", "cancelled", "base rolled_back"+why, "app skipped"+why, "side skipped: the rebuild was cancelled", "top skipped"+why)
		undone(t, w)
	})
	t.Run("a recipe is gone", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		if err := w.memory.RemoveRecipe(t.Context(), "top"); err != nil {
			t.Fatal(err)
		}
		w.finish("app", "")
		w.finish("side", "")
		w.promote(nil)
		w.promote(nil)
		const why = ": top is skipped: all or nothing"
		w.want("the end", "failed", "base rolled_back"+why, "app rolled_back"+why, "side rolled_back"+why, "top skipped: its recipe was removed")
		undone(t, w)
	})
	t.Run("an operator moves all back", func(t *testing.T) {
		t.Parallel()
		w := begin(t)
		for _, name := range []string{"app", "side", "top"} {
			w.finish(name, "")
			w.promote(nil)
		}
		w.want("all", "done", "base done", "app done", "side done", "top done")
		if ok, err := w.runner.Rollback(t.Context(), "r-1"); err != nil || !ok {
			t.Fatalf("Rollback = %t, %v", ok, err)
		}
		w.promote(nil)
		w.want("the end", "rolled_back", "base rolled_back", "app rolled_back", "side rolled_back", "top rolled_back")
	})
}

// judgeTags holds the tags of a registry against a rebuild that has ended.
func judgeTags(t *testing.T, w *works, before map[string]string) {
	t.Helper()
	_, images := w.read()
	moved, twice := map[string]int{}, 0
	for _, m := range w.registry.Moves() {
		moved[m]++
	}
	for _, img := range images {
		for _, m := range img.Moves {
			if !m.Known { // it was never moved
				m.From = before[imagename.Full(m.Tag)]
			}
			full := imagename.Full(m.Tag)
			want := m.From
			if img.State == jobs.ImageDone {
				want = m.To
				if n := moved[m.Tag+" "+m.To]; n != 1 {
					twice++
					t.Errorf("%s was moved to %s %d times", m.Tag, m.To, n)
				}
			}
			if w.registry.At(full) != want || m.From != before[full] {
				t.Errorf("%s of %s, which is %s, is at %s, want %s (%+v)", m.Tag, img.Name, img.State, w.registry.At(full), want, m)
			}
		}
	}
	t.Logf("tags moved: %d, not once: %d", len(moved), twice)
}
