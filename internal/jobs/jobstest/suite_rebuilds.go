package jobstest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestRebuilds checks a database for what users of rebuilds are promised.
func TestRebuilds(t *testing.T, setup func(t *testing.T) DB) {
	runSuite(t, setup, []subtest{
		{"a rebuild begins once", testBeginRebuild},
		{"a change of what has changed since counts for nothing", testChangeRebuild},
		{"of two changes at once one counts", testChangesAtOnce},
		{"what is forgotten is gone", testForgetRebuild},
		{"a rebuild of thousands of images", testBigRebuild},
		{"one moves tags at a time", testPromoteTurn},
	})
}

// aRebuild is a rebuild with two images, which began this long after the others.
func aRebuild(id string, after time.Duration) (jobs.Rebuild, []jobs.RebuildImage) {
	head := jobs.Rebuild{
		ID: id, Plan: "0c9f1a52e77b3d46", Question: "--base debian:12", By: "ann@desk", Priority: jobs.PriorityLow, MaxParallel: 8,
		State: jobs.RebuildRunning, Created: time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC).Add(after),
	}
	spec := jobs.Spec{
		Name: "app", Context: &jobs.Context{Ref: "https://forge.example/app.tar"}, Cause: &jobs.Cause{Rebuild: id},
		Build: &jobs.Build{Args: map[string]string{"b": "2", "a": "1 > 0 & <x>"}},
	}.Normalize()
	return head, []jobs.RebuildImage{
		{Name: "base", Wave: 1, Because: "debian:12 changed", State: jobs.ImageDone, Job: "job-1", Try: 1},
		{Name: "app", Wave: 2, Because: "stands on base", After: []string{"base"}, State: jobs.ImageBuilding, Try: 1, Spec: &spec},
	}
}

func (f *farm) rebuild(head jobs.Rebuild, images ...jobs.RebuildImage) {
	f.t.Helper()
	got, all, err := f.Rebuilds.Rebuild(f.ctx, head.ID)
	if diff := cmp.Diff(head, got) + cmp.Diff(images, all); err != nil || diff != "" {
		f.t.Errorf("Rebuild(%s), %v (-want +got):\n%s", head.ID, err, diff)
	}
}

func (f *farm) begin(head jobs.Rebuild, images []jobs.RebuildImage) {
	f.t.Helper()
	if err := f.Rebuilds.BeginRebuild(f.ctx, head, images); err != nil {
		f.t.Fatalf("BeginRebuild: %v", err)
	}
}

func testBeginRebuild(f *farm) {
	if _, _, err := f.Rebuilds.Rebuild(f.ctx, "r-1"); !errors.Is(err, jobs.ErrNoRebuild) {
		f.t.Errorf("Rebuild = %v, want ErrNoRebuild", err)
	}
	head, images := aRebuild("r-1", 0)
	f.begin(head, images)
	f.rebuild(head, images...)
	other := head
	other.Question = "--all"
	f.begin(other, images[:1])
	f.rebuild(head, images...)
	_, some, err := f.Rebuilds.Rebuild(f.ctx, "r-1", "app", "none")
	if diff := cmp.Diff(images[1:], some); err != nil || diff != "" {
		f.t.Errorf("Rebuild(r-1, app, one that it has not), %v (-want +got):\n%s", err, diff)
	}
	_, some, err = f.Rebuilds.Rebuild(f.ctx, "r-1", "app", "base")
	if diff := cmp.Diff(images, some); err != nil || diff != "" {
		f.t.Errorf("Rebuild(r-1, app, base), %v (-want +got):\n%s", err, diff)
	}
	if _, _, err := f.Rebuilds.Rebuild(f.ctx, "r-none", "app"); !errors.Is(err, jobs.ErrNoRebuild) {
		f.t.Errorf("Rebuild(r-none, app) = %v, want ErrNoRebuild", err)
	}
	second, images := aRebuild("r-2", time.Minute)
	f.begin(second, images)
	list, err := f.Rebuilds.Rebuilds(f.ctx)
	if diff := cmp.Diff([]jobs.Rebuild{second, head}, list); err != nil || diff != "" {
		f.t.Errorf("Rebuilds, %v (-want +got):\n%s", err, diff)
	}
}

// change changes a rebuild, and returns it as it should be then.
func (f *farm) change(want bool, seen, next jobs.Rebuild, images ...jobs.RebuildImage) jobs.Rebuild {
	f.t.Helper()
	if changed, err := f.Rebuilds.ChangeRebuild(f.ctx, seen, next, images...); err != nil || changed != want {
		f.t.Errorf("ChangeRebuild = %t, %v; want %t", changed, err, want)
	}
	next.Rev = seen.Rev + 1
	return next
}

func testChangeRebuild(f *farm) {
	head, images := aRebuild("r-1", 0)
	f.change(false, head, head)
	f.begin(head, images)
	base, app := images[0], images[1]
	submitted, again := app, base
	submitted.Spec, submitted.Job = nil, "job-2"
	again.Try = 2
	second := f.change(true, head, head, submitted)
	f.rebuild(second, base, submitted)
	f.change(false, head, head, again) // it knows of nothing since
	f.rebuild(second, base, submitted)
	paused := second
	paused.State = jobs.RebuildPaused
	third := f.change(true, second, paused)
	f.change(false, second, second, again, app)
	f.rebuild(third, base, submitted)
}

func testChangesAtOnce(f *farm) {
	head, images := aRebuild("r-1", 0)
	f.begin(head, images)
	var mu sync.Mutex
	var all sync.WaitGroup
	won := []jobs.RebuildImage{}
	for i := range 5 {
		next := images[i%2]
		next.Job = fmt.Sprint("job of ", i)
		all.Go(func() {
			changed, err := f.Rebuilds.ChangeRebuild(f.ctx, head, head, next)
			if err != nil {
				f.t.Errorf("ChangeRebuild: %v", err)
			}
			if changed {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, next)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		f.t.Fatalf("%+v were kept, want one", won)
	}
	for i := range images {
		if images[i].Name == won[0].Name {
			images[i] = won[0]
		}
	}
	head.Rev++
	f.rebuild(head, images...)
}

func testForgetRebuild(f *farm) {
	head, images := aRebuild("r-1", 0)
	f.begin(head, images)
	changed := f.change(true, head, head)
	forget := func(seen jobs.Rebuild) {
		f.t.Helper()
		if err := f.Rebuilds.ForgetRebuild(f.ctx, seen); err != nil {
			f.t.Errorf("ForgetRebuild: %v", err)
		}
	}
	forget(head) // it has changed since
	f.rebuild(changed, images...)
	forget(changed)
	forget(changed)
	if _, _, err := f.Rebuilds.Rebuild(f.ctx, "r-1"); !errors.Is(err, jobs.ErrNoRebuild) {
		f.t.Errorf("Rebuild = %v, want ErrNoRebuild", err)
	}
	f.change(false, changed, changed)
	if list, err := f.Rebuilds.Rebuilds(f.ctx); err != nil || len(list) != 0 {
		f.t.Errorf("Rebuilds = %+v, %v; want none", list, err)
	}
}

func testBigRebuild(f *farm) {
	head, _ := aRebuild("r-1", 0)
	var images, changes []jobs.RebuildImage
	for i := range 5000 {
		img := jobs.RebuildImage{Name: fmt.Sprintf("image-%04d", i), Wave: 1, Because: "asked for", State: jobs.ImageWaiting}
		next := img
		next.State = jobs.ImageSkipped
		images, changes = append(images, img), append(changes, next)
	}
	f.begin(head, images)
	f.rebuild(head, images...)
	f.rebuild(f.change(true, head, head, changes...), changes...)
}

func testPromoteTurn(f *farm) {
	take := func(nonce string) bool {
		f.t.Helper()
		mine, err := f.Rebuilds.PromoteTurn(f.ctx, nonce, f.lease())
		if err != nil {
			f.t.Errorf("PromoteTurn(%s): %v", nonce, err)
		}
		return mine
	}
	turn := func(nonce string, want bool) {
		f.t.Helper()
		if mine := take(nonce); mine != want {
			f.t.Errorf("PromoteTurn(%s) = %t, want %t", nonce, mine, want)
		}
	}
	turn("one", true)
	turn("two", false)
	turn("one", true)
	if f.Advance != nil { // it is prolonged
		f.Advance(2 * f.lease() / 3)
		turn("one", true)
		f.Advance(2 * f.lease() / 3)
		turn("two", false)
	}
	f.outwait(f.lease())
	f.eventually("the turn is over", func() bool { return take("two") })
	turn("one", false)
}
