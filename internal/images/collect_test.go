package imagegc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/imagegc"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const age = time.Hour

func normal(ref string) string { return strings.TrimPrefix(ref, "docker.io/") }

// host is a build host with a registry that has everything but "none".
type host struct {
	engine.Engine
	images map[string]engine.ImageFacts // by name
	used   map[string]bool              // by ID
	pulls  int
	cache  int64
	broken string // the name of an image that cannot be looked at
}

func (h *host) ImageFacts(_ context.Context, ref string) (engine.ImageFacts, error) {
	if ref == h.broken {
		return engine.ImageFacts{}, errors.New("the daemon does not answer")
	}
	return h.images[normal(ref)], nil
}

func (h *host) ImageInUse(_ context.Context, id string) (bool, error) { return h.used[id], nil }

func (h *host) RemoveImage(_ context.Context, ref string) error {
	delete(h.images, ref)
	return nil
}

func (h *host) UnusedCache(context.Context, time.Duration) (int64, error) { return h.cache, nil }

func (h *host) PruneCache(context.Context, time.Duration) (int64, error) {
	freed := h.cache
	h.cache = 0
	return freed, nil
}

func (h *host) Image(_ context.Context, ref string, _ io.Writer) (string, error) {
	if ref == "none:1" {
		return "", errors.New("no such image")
	}
	h.pulls++
	ref = normal(ref)
	h.images[ref] = engine.ImageFacts{ID: fmt.Sprintf("sha256:pull%d", h.pulls), Size: 10}
	return h.images[ref].ID, nil
}

func (h *host) Build(_ context.Context, b engine.Build) (engine.Built, error) {
	for _, tag := range b.Spec.Tags {
		h.images[tag] = engine.ImageFacts{ID: "sha256:" + tag, Size: 100, Labels: maps.Clone(b.Labels)}
	}
	return engine.Built{}, nil
}

type records map[string]jobs.Job

func (r records) Get(_ context.Context, id string) (jobs.Job, error) {
	job, ok := r[id]
	if !ok {
		return job, jobs.ErrNotFound
	}
	return job, nil
}

// farm is what works on a host.
type farm struct {
	t       *testing.T
	dir     string
	host    *host
	engine  engine.Engine
	uses    *imagegc.Uses
	records records
}

func newFarm(t *testing.T) *farm {
	h := &host{images: map[string]engine.ImageFacts{"theirs:1": {ID: "sha256:theirs"}}, used: map[string]bool{}, cache: 7}
	dir := filepath.Join(t.TempDir(), "images")
	uses := imagegc.NewUses(dir, normal)
	return &farm{t: t, dir: dir, host: h, engine: imagegc.Track(nil, h, h, uses), uses: uses, records: records{}}
}

func (f *farm) use(ref string) {
	f.t.Helper()
	if _, err := f.engine.Image(f.t.Context(), ref, nil); err != nil {
		f.t.Fatal(err)
	}
}

// build makes an image of a job that has ended.
func (f *farm) build(id string, push bool, tags ...string) {
	f.t.Helper()
	labels := map[string]string{engine.LabelFarm: "f", engine.LabelHost: "h", engine.LabelJob: id}
	if _, err := f.engine.Build(f.t.Context(), engine.Build{Spec: jobs.Build{Tags: tags}, Labels: labels}); err != nil {
		f.t.Fatal(err)
	}
	f.records[id] = jobs.Job{ID: id, State: jobs.Succeeded, Spec: jobs.Spec{Build: &jobs.Build{Tags: tags, Push: push}}}
}

func (f *farm) collector(dryRun bool, keep ...string) *imagegc.Collector {
	return imagegc.New(nil, f.host, f.uses, f.records, imagegc.Options{Farm: "f", Host: "h", Age: age, Keep: keep, DryRun: dryRun})
}

func never() bool { return false }

func (f *farm) wantRemoved(r imagegc.Report, want ...string) {
	f.t.Helper()
	if !slices.Equal(r.Removed, want) {
		f.t.Errorf("removed %q, want %q; kept %q", r.Removed, want, r.Kept)
	}
}

func TestOnlyWhatTheFarmBroughtGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.use("theirs:1")
		f.use("old:1")
		f.use("retagged:1")
		f.use("running:1")
		f.use("pinned:1")
		f.build("pushed", true, "app:pushed")
		f.build("local", false, "app:local")
		f.build("forgotten", false, "app:forgotten")
		f.build("damaged", true, "app:damaged")
		f.records["damaged"] = jobs.Job{ID: "damaged", State: jobs.Succeeded, Damaged: "its document cannot be read"}
		f.build("taken", true, "app:taken")
		if _, err := f.engine.Image(t.Context(), "none:1", nil); err == nil {
			t.Fatal("pulled what is not there")
		}
		time.Sleep(2 * age)
		f.use("docker.io/young:1")
		// Somebody gave these names to images of his own.
		f.host.images["retagged:1"] = engine.ImageFacts{ID: "sha256:other"}
		f.host.images["app:taken"] = engine.ImageFacts{ID: "sha256:other", Labels: map[string]string{engine.LabelFarm: "f", engine.LabelHost: "h", engine.LabelJob: "another"}}
		f.host.images["none:1"] = engine.ImageFacts{ID: "sha256:other"} // after the farm's pull had failed
		f.host.used[f.host.images["running:1"].ID] = true
		delete(f.records, "forgotten")
		f.use("none:1")
		time.Sleep(age / 2)

		dry, err := f.collector(true, "pinned:*").Collect(t.Context(), never)
		if err != nil {
			t.Fatal(err)
		}
		before := len(f.host.images)
		r, err := f.collector(false, "pinned:*").Collect(t.Context(), never)
		if err != nil {
			t.Fatal(err)
		}
		if before-len(f.host.images) != len(r.Removed) || dry.Cache != 7 || r.Cache != 7 || f.host.cache != 0 {
			t.Errorf("%d images before, %d after, cache %d; dry run %+v, then %+v", before, len(f.host.images), f.host.cache, dry, r)
		}
		for _, r := range []imagegc.Report{dry, r} {
			f.wantRemoved(r, "app:forgotten", "app:pushed", "old:1")
			want := map[string]string{
				"running:1": "a container uses it", "pinned:1": "the operator keeps pinned:*", "app:local": "it was not pushed, and its job is on record",
				"app:damaged": "what its job asked for cannot be read",
				"young:1":     "used within the last 1h",
			}
			if !maps.Equal(r.Kept, want) || r.Bytes != 210 {
				t.Errorf("kept %q and removed %d bytes, want %q and 210", r.Kept, r.Bytes, want)
			}
		}
	})
}

func TestTheLongestUnusedGoFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		for _, ref := range []string{"a:1", "b:1", "c:1", "a:1"} {
			f.use(ref)
			time.Sleep(time.Minute)
		}
		time.Sleep(age)
		f.host.broken = "b:1"
		room := func() bool { return len(f.host.images) <= 3 } // of four
		r, err := f.collector(false).Collect(t.Context(), room)
		if err == nil || !strings.Contains(err.Error(), "b:1") {
			t.Errorf("Collect() = %v, want the error of b:1", err)
		}
		f.wantRemoved(r, "c:1")
		if r.Cache != 0 {
			t.Error("there was room, and the build cache went as well")
		}
	})
}

// What is gone leaves no entry behind, whoever removed it.
func TestEntriesDoNotPileUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.build("scratch", false, "scratch:1")
		if err := f.engine.RemoveImage(t.Context(), "scratch:1"); err != nil {
			t.Fatal(err)
		}
		f.wantEntries(0)
		f.use("lost:1")
		f.use("here:1")
		delete(f.host.images, "lost:1")
		ctx, stop := context.WithCancel(t.Context())
		c := imagegc.New(nil, f.host, f.uses, f.records, imagegc.Options{Farm: "f", Host: "h", Age: age, Short: func(uint64) bool { return false }})
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		time.Sleep(2*age + time.Minute)
		stop()
		<-done
		f.wantEntries(1)
	})
}

func (f *farm) wantEntries(want int) {
	f.t.Helper()
	files, err := os.ReadDir(f.dir)
	if err != nil || len(files) != want {
		f.t.Errorf("%d entries are left, %v; want %d", len(files), err, want)
	}
}

// A worker that is killed in a pull has noted it.
func TestPullOfAKilledWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		func() {
			defer func() { _ = recover() }()
			_, _ = imagegc.Track(nil, dying{f.host}, f.host, f.uses).Image(t.Context(), "half:1", nil)
		}()
		f.use("half:1")
		time.Sleep(2 * age)
		r, err := f.collector(false).Collect(t.Context(), never)
		if err != nil || f.host.pulls != 1 {
			t.Fatal(err, f.host.pulls)
		}
		f.wantRemoved(r, "half:1")
	})
}

// dying ends with its worker once it has pulled.
type dying struct{ *host }

func (d dying) Image(ctx context.Context, ref string, w io.Writer) (string, error) {
	_, _ = d.host.Image(ctx, ref, w)
	panic("killed")
}

func TestRunMakesRoomWhenItIsShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		for i := range 5 {
			f.use(fmt.Sprintf("image:%d", i))
		}
		ctx, stop := context.WithCancel(t.Context())
		var free atomic.Int64
		free.Store(10)
		c := imagegc.New(nil, f.host, f.uses, f.records, imagegc.Options{Farm: "f", Host: "h", Age: age, Short: func(times uint64) bool {
			return uint64(free.Load()) < times+uint64(len(f.host.images)) //nolint:gosec // never below 0
		}})
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		time.Sleep(2 * age)
		synctest.Wait()
		if len(f.host.images) != 6 {
			t.Errorf("%d images are left although there was room", len(f.host.images))
		}
		free.Store(7)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(f.host.images) != 4 || f.host.cache != 7 {
			t.Errorf("%d images and %d of cache are left, want 4 and 7", len(f.host.images), f.host.cache)
		}
		stop()
		<-done
	})
}
