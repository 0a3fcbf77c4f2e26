//go:build integration

package docker

import (
	"slices"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestPrune has a daemon of its own: the others count on their build cache.
func TestPrune(t *testing.T) {
	t.Parallel()
	e := open(t, hosttest.StartHost(t, "prune"), Options{})
	ctx, began := t.Context(), time.Now()
	if _, err := tryBuild(t, e, "FROM busybox:latest\nRUN head -c 3000000 /dev/urandom > /junk\n", jobs.Build{Tags: []string{"app:1"}}); err != nil {
		t.Fatal(err)
	}
	facts, err := e.ImageFacts(ctx, "app:1")
	if err != nil || !jobs.IsDigest(facts.ID) || facts.Size < 3_000_000 || !slices.Equal(facts.Names, []string{"app:1"}) {
		t.Fatalf("facts = %+v, %v", facts, err)
	}
	if none, err := e.ImageFacts(ctx, "app:2"); err != nil || none.ID != "" {
		t.Errorf("facts of nothing = %+v, %v", none, err)
	}

	base, err := e.ImageFacts(ctx, "busybox:latest")
	if err != nil {
		t.Fatal(err)
	}
	inUse := func(id string) bool {
		t.Helper()
		used, err := e.ImageInUse(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return used
	}
	if inUse(facts.ID) {
		t.Error("it is in use before there is a container")
	}
	c := spec(t, "true")
	c.Image = facts.ID
	id := create(t, e, c)
	if !inUse(facts.ID) || inUse(base.ID) {
		t.Error("a container uses its image, and not what that stands on")
	}
	if err := e.RemoveImage(ctx, "app:1"); err != nil {
		t.Fatal(err)
	}
	if still, err := e.ImageFacts(ctx, "app:1"); err != nil || still.ID != facts.ID {
		t.Errorf("the image in use is %+v, %v", still, err)
	}
	if err := e.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := e.RemoveImage(ctx, "app:1"); err != nil {
		t.Fatal(err)
	}

	if used, err := e.CacheTimes(ctx); err != nil || !slices.ContainsFunc(used, func(at time.Time) bool { return at.After(began) && at.Before(time.Now()) }) {
		t.Errorf("the cache was used at %v, %v; want a time since %s", used, err, began)
	}
	if young, err := e.PruneCache(ctx, time.Hour); err != nil || young != 0 {
		t.Errorf("pruned %d bytes that were used just now, %v", young, err)
	}
	// The daemon counts in seconds, and lets go of what a build used a little after
	// its end.
	deadline := time.Now().Add(time.Minute)
	for unused := int64(0); unused < 3_000_000; time.Sleep(100 * time.Millisecond) {
		var err error
		if unused, err = e.UnusedCache(ctx, time.Second); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d bytes of build cache are unused, %v; want 3 MB and more", unused, err)
		}
	}
	var pruned int64
	for ; pruned < 3_000_000 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		freed, err := e.PruneCache(ctx, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		pruned += freed
	}
	if pruned < 3_000_000 {
		t.Errorf("pruned %d bytes; want 3 MB and more", pruned)
	}
	if left, err := e.UnusedCache(ctx, 0); err != nil || left > 3_000_000 {
		t.Errorf("%d bytes of build cache are left, %v", left, err)
	}
	if used, err := e.CacheTimes(ctx); err != nil || len(used) > 4 { // some engines keep what is of the base
		t.Errorf("the cache was used at %v after it was removed, %v", used, err)
	}
}
