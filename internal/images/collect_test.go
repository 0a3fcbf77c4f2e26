package images_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/images"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const age = time.Hour

func normal(ref string) string { return strings.TrimPrefix(ref, "docker.io/") }

// host is a build host with a registry that has everything but "none" and what is
// in lacks.
type host struct {
	names  map[string]string // name -> ID
	images map[string]bool   // IDs
	used   map[string]bool   // by ID
	lacks  map[string]error  // by name
	pulls  int
	cache  int64
	cached []time.Time
	err    error  // of a look at the cache
	broken string // the name of an image that cannot be looked at
	pushed map[string]string
}

func newHost() *host {
	return &host{names: map[string]string{}, images: map[string]bool{}, used: map[string]bool{}, lacks: map[string]error{}, cache: 7, pushed: map[string]string{}}
}

// put gives an ID a name, as the operator would.
func (h *host) put(name, id string) {
	h.names[name], h.images[id] = id, true
}

func (h *host) ImageFacts(_ context.Context, ref string) (engine.ImageFacts, error) {
	if ref == h.broken {
		return engine.ImageFacts{}, errors.New("the daemon does not answer")
	}
	id, ok := h.names[normal(ref)]
	if !ok && h.images[ref] {
		id, ok = ref, true
	}
	if !ok {
		return engine.ImageFacts{}, nil
	}
	f := engine.ImageFacts{ID: id, Size: 10}
	for name, named := range h.names {
		if named == id {
			f.Names = append(f.Names, name)
		}
	}
	return f, nil
}

func (h *host) ImageInUse(_ context.Context, id string) (bool, error) { return h.used[id], nil }

// RemoveImage is Docker's: an image goes with its last name, unless it is used.
func (h *host) RemoveImage(ctx context.Context, ref string) error {
	f, err := h.ImageFacts(ctx, ref)
	switch last := len(f.Names) <= 1; {
	case err != nil || f.ID == "", f.ID == ref && len(f.Names) > 0, last && h.used[f.ID]:
		return err
	case last:
		delete(h.images, f.ID)
	}
	delete(h.names, normal(ref))
	return nil
}

func (h *host) UnusedCache(context.Context, time.Duration) (int64, error) { return h.cache, nil }

func (h *host) PruneCache(context.Context, time.Duration) (int64, error) {
	freed := h.cache
	h.cache = 0
	return freed, nil
}

func (h *host) CacheTimes(context.Context) ([]time.Time, error) { return h.cached, h.err }

func (h *host) Image(ctx context.Context, ref string, w io.Writer) (string, error) {
	if id := h.names[normal(ref)]; id != "" {
		return id, nil
	}
	return h.Pull(ctx, ref, w)
}

func (h *host) Pull(_ context.Context, ref string, _ io.Writer) (string, error) {
	h.pulls++
	if err := h.lacks[normal(ref)]; err != nil {
		return "", err
	}
	id := fmt.Sprintf("sha256:pull%060d", h.pulls)
	h.put(normal(ref), id)
	return id, nil
}

func (h *host) Tag(_ context.Context, id, name string) error {
	if !h.images[id] {
		return errors.New("no such image")
	}
	h.names[normal(name)] = id
	return nil
}

func (h *host) Push(ctx context.Context, id, name string, _ io.Writer) (string, error) {
	if err := h.lacks[normal(name)]; err != nil {
		return "", err
	}
	h.pushed[name] = id
	return name + "@" + id, h.Tag(ctx, id, name)
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
	images  *images.Images
	rules   images.Rules
	notes   *images.Notes
	records records
	built   int
}

func newFarm(t *testing.T) *farm {
	f := &farm{t: t, dir: filepath.Join(t.TempDir(), "images"), host: newHost(), records: records{}}
	f.host.put("theirs:1", "sha256:theirs")
	f.host.lacks["none:1"] = jobs.Fail(jobs.KindImageMissing, nil, "", "image none:1 was not found")
	f.notes = images.NewNotes(f.dir, normal)
	f.images = images.New(nil, f.host, f.notes, func() images.Rules { return f.rules })
	return f
}

func (f *farm) use(ref string) string {
	f.t.Helper()
	id, err := f.images.Use(f.t.Context(), ref, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// make puts an image on the host, as a build does, under its private name.
func (f *farm) make() string {
	f.built++
	id := fmt.Sprintf("sha256:%064d", f.built)
	f.host.put("slipway-job/f:"+id[60:], id)
	return id
}

// name gives an image a name for a job, and takes the private one.
func (f *farm) name(id string, n engine.Naming) error {
	n.Image = id
	err := f.images.Name(f.t.Context(), n)
	if released := f.images.Release(f.t.Context(), "slipway-job/f:"+id[60:]); released != nil {
		f.t.Error(released)
	}
	return err
}

// build makes an image of a job that has ended.
func (f *farm) build(id string, push bool, tag string) {
	f.t.Helper()
	made := f.make()
	if push {
		if _, err := f.images.Push(f.t.Context(), engine.Naming{Image: made, Name: tag, Job: id}, nil); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := f.name(made, engine.Naming{Name: tag, Job: id}); !push && err != nil {
		f.t.Fatal(err)
	}
	f.records[id] = jobs.Job{ID: id, State: jobs.Succeeded, Spec: jobs.Spec{Build: &jobs.Build{Tags: []string{tag}, Push: push}}}
}

func (f *farm) collector(dryRun bool, keep ...string) *images.Collector {
	return images.NewCollector(nil, f.host, f.notes, f.records, images.CollectorOptions{Age: age, Keep: keep, DryRun: dryRun})
}

func never() bool { return false }

func (f *farm) wantRemoved(r images.Report, want ...string) {
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
		if _, err := f.images.Use(t.Context(), "none:1", nil); err == nil {
			t.Fatal("pulled what is not there")
		}
		time.Sleep(2 * age)
		f.use("docker.io/young:1")
		// A user gave these names to images of his own.
		for _, name := range []string{"retagged:1", "app:taken", "none:1"} { // the last after the farm's pull had failed
			f.host.put(name, "sha256:other")
		}
		f.host.used[f.host.names["running:1"]] = true
		delete(f.records, "forgotten")
		f.use("none:1")
		time.Sleep(age / 2)

		dry, err := f.collector(true, "pinned:*").Collect(t.Context(), never)
		if err != nil {
			t.Fatal(err)
		}
		before := len(f.host.names)
		r, err := f.collector(false, "pinned:*").Collect(t.Context(), never)
		if err != nil {
			t.Fatal(err)
		}
		if before-len(f.host.names) != len(r.Removed) || dry.Cache != 7 || r.Cache != 7 || f.host.cache != 0 {
			t.Errorf("%d images before, %d after, cache %d; dry run %+v, then %+v", before, len(f.host.names), f.host.cache, dry, r)
		}
		for _, r := range []images.Report{dry, r} {
			f.wantRemoved(r, "app:forgotten", "app:pushed", "old:1")
			want := map[string]string{
				"running:1": "a container uses it", "pinned:1": "the operator keeps pinned:*", "app:local": "it was not pushed, and its job is on record",
				"app:damaged": "what its job asked for cannot be read",
				"young:1":     "used within the last 1h",
			}
			if !maps.Equal(r.Kept, want) || r.Bytes != 30 {
				t.Errorf("kept %q and removed %d bytes, want %q and 30", r.Kept, r.Bytes, want)
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
		room := func() bool { return len(f.host.names) <= 3 } // of four
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

// A removed image leaves no entry behind, also when the operator removed it.
func TestEntriesDoNotPileUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		id := f.make()
		if err := f.images.Release(t.Context(), "slipway-job/f:"+id[60:]); err != nil || f.host.images[id] {
			t.Fatal(err, f.host.images)
		}
		f.wantEntries(0)
		f.use("lost:1")
		f.use("here:1")
		delete(f.host.names, "lost:1")
		ctx, stop := context.WithCancel(t.Context())
		c := images.NewCollector(nil, f.host, f.notes, f.records, images.CollectorOptions{Age: age, Short: func(uint64) bool { return false }})
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
	files, err := filepath.Glob(filepath.Join(f.dir, "*.json"))
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
			_, _ = images.New(nil, dying{f.host}, f.notes, func() images.Rules { return f.rules }).Use(t.Context(), "half:1", nil)
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
		c := images.NewCollector(nil, f.host, f.notes, f.records, images.CollectorOptions{Age: age, Short: func(times uint64) bool {
			return uint64(free.Load()) < times+uint64(len(f.host.names)) // never below 0
		}})
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		time.Sleep(2 * age)
		synctest.Wait()
		if len(f.host.names) != 6 {
			t.Errorf("%d images are left although there was room", len(f.host.names))
		}
		free.Store(7)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(f.host.names) != 4 || f.host.cache != 7 {
			t.Errorf("%d images and %d of cache are left, want 4 and 7", len(f.host.names), f.host.cache)
		}
		stop()
		<-done
	})
}

func TestReportLines(t *testing.T) {
	t.Parallel()
	r := images.Report{Removed: []string{"app:1"}, Bytes: 1 << 20, Cache: 2 << 20, Kept: map[string]string{"b:1": "it is young", "a:1": "a container uses it"}}
	for dryRun, verb := range map[bool]string{false: "removed", true: "would remove"} {
		got := strings.Join(r.Lines(dryRun), "\n")
		want := verb + " app:1\nkept a:1: a container uses it\nkept b:1: it is young\n" + verb + " 1 images of 1.0 MiB, and 2.0 MiB of build cache"
		if got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
}
