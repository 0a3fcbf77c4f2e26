package garbage_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/garbage"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
)

const old = 48 * time.Hour

// farm is a Redis and an artifact store, with what a producer does to them.
type farm struct {
	t       testing.TB
	redis   *miniredis.Miniredis
	rdb     *redis.Client
	records *records.DB
	store   *artifactstest.Store
	blobs   *artifacts.Blobs
}

func newFarm(t testing.TB) *farm {
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	f := &farm{t: t, redis: server, rdb: rdb, records: records.New(rdb, records.Options{}), store: artifactstest.NewStore()}
	f.blobs = artifacts.NewBlobs(f.store, "")
	f.blobs.Pins = f.records
	return f
}

// put stores text, which was written so long ago.
func (f *farm) put(text string, age time.Duration) string {
	f.t.Helper()
	b, err := f.blobs.Write(f.t.Context(), strings.NewReader(text))
	if err != nil {
		f.t.Fatal(err)
	}
	f.store.Age(b.Digest, age)
	return b.Digest
}

func (f *farm) has(digest string) bool {
	f.t.Helper()
	_, err := f.store.Stat(f.t.Context(), digest)
	if err != nil && !errors.Is(err, artifacts.ErrNotFound) {
		f.t.Fatal(err)
	}
	return err == nil
}

func (f *farm) job(id string, c *jobs.Context) {
	f.t.Helper()
	spec := jobs.Spec{Context: c, Build: &jobs.Build{}}.Normalize()
	if _, err := f.records.Create(f.t.Context(), []jobs.Job{jobs.NewJob(id, spec)}); err != nil {
		f.t.Fatal(err)
	}
}

// ended is a job that has a result.
func (f *farm) ended(id string, r jobs.Result) {
	f.t.Helper()
	f.job(id, nil)
	ctx := f.t.Context()
	job, err := f.records.Claim(ctx, jobs.Ticket{ID: id}, jobs.Owner{Worker: "w", Host: "h", Nonce: "n", Lease: time.Minute})
	if err == nil {
		r.Attempt = job.Attempt
		err = f.records.Finish(ctx, id, "n", r)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *farm) collect(opts garbage.Options) (garbage.Report, error) {
	return f.collector(f.store, opts).Collect(f.t.Context())
}

// collector is one of a process of its own.
func (f *farm) collector(store artifacts.Store, opts garbage.Options) *garbage.Collector {
	return garbage.New(nil, garbage.Deps{Records: f.records, Store: artifacts.NewBlobs(store, ""), Owner: artifacts.NewOwner(f.records, store, "memory")}, opts)
}

// unpin lets the pins run out that records made.
func (f *farm) unpin() { f.redis.Del("slipway:{artifacts}:pins") }

func TestCollect(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	kept := map[string]string{
		"young":             f.put("young", artifacts.Grace-time.Minute),
		"a queued context":  f.put("context", old),
		"a log":             f.put("log", old),
		"an output":         f.put("output", old),
		"a noted output":    f.put("noted", old),
		"pinned":            f.put("pinned", old),
		"of a broken one":   f.put("broken", old),
		"found there again": f.put("again", old),
		"of a recipe":       f.put("recipe", old),
	}
	var gone []string
	for i := range 250 { // more than are condemned at once
		gone = append(gone, f.put(fmt.Sprint("garbage ", i), old))
	}
	f.job("queued", &jobs.Context{Ref: artifacts.Ref(kept["a queued context"])})
	f.ended("ended", jobs.Result{State: jobs.Succeeded, Log: jobs.LogInfo{Digest: kept["a log"]}, Outputs: []jobs.Output{{Path: "/o", Digest: kept["an output"]}}})
	f.job("noted", nil)
	for key, text := range map[string]string{
		"slipway:{noted}:partial": `{"outputs":[{"digest":"` + kept["a noted output"] + `"}]}`,
		"slipway:{broken}:spec":   `{"of a later version","` + kept["of a broken one"] + `"`,
	} {
		if err := f.redis.Set(key, text); err != nil {
			t.Fatal(err)
		}
	}
	recipe := jobs.Recipe{Name: "app", Job: "forgotten", Made: time.Now(), Context: kept["of a recipe"]}
	if _, err := f.records.Learn(t.Context(), recipe); err != nil {
		t.Fatal(err)
	}
	f.unpin()
	if _, err := f.records.Pin(t.Context(), kept["pinned"]); err != nil {
		t.Fatal(err)
	}
	f.put("again", 0) // pins it

	report, err := f.collect(garbage.Options{DryRun: true})
	if err != nil || report.Deleted != len(gone) || report.Kept != len(kept) || report.Bytes == 0 || !f.has(gone[0]) {
		t.Errorf("dry run: %+v, %v, want %d artifacts, all of them still there", report, err, len(gone))
	}
	report, err = f.collect(garbage.Options{Age: time.Second}) // less than Grace is Grace
	if err != nil || report.Deleted != len(gone) || report.Kept != len(kept) || report.Bytes == 0 {
		t.Errorf("Collect = %+v, %v, want %d deleted and %d kept", report, err, len(gone), len(kept))
	}
	for what, digest := range kept {
		if !f.has(digest) {
			t.Errorf("%s was deleted", what)
		}
	}
	for _, digest := range gone {
		if f.has(digest) {
			t.Errorf("garbage is still there")
		}
	}
	if report, err := f.collect(garbage.Options{}); err != nil || report.Deleted != 0 {
		t.Errorf("a second Collect = %+v, %v, want nothing to do", report, err)
	}
}

// TestForgotten: what an ended job names goes with its record.
func TestForgotten(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	log := f.put("log", old)
	f.ended("ended", jobs.Result{State: jobs.Succeeded, Log: jobs.LogInfo{Digest: log}})
	f.unpin()
	if _, err := f.collect(garbage.Options{}); err != nil || !f.has(log) {
		t.Fatalf("Collect = %v; the log of a kept job is there: %t", err, f.has(log))
	}
	f.redis.SetTime(time.Now().Add(30 * 24 * time.Hour))
	if n, err := f.records.Sweep(t.Context(), 10); err != nil || n != 1 {
		t.Fatalf("Sweep = %d, %v", n, err)
	}
	if _, err := f.collect(garbage.Options{}); err != nil || f.has(log) {
		t.Errorf("Collect = %v; the log of a forgotten job is there: %t", err, f.has(log))
	}
}

func TestStoreOfAnotherFarm(t *testing.T) {
	t.Parallel()
	f, other := newFarm(t), newFarm(t)
	other.store = f.store
	if _, err := f.collect(garbage.Options{}); err != nil {
		t.Fatal(err)
	}
	digest := f.put("all that the first farm has", old)
	f.job("queued", &jobs.Context{Ref: artifacts.Ref(digest)})
	if _, err := other.collect(garbage.Options{}); !errors.Is(err, artifacts.ErrForeign) || !strings.Contains(artifacts.StoreFailure(err, "").Hint, "worker store --take --force") {
		t.Errorf("Collect = %v, want ErrForeign and what to do", err)
	}
	if !f.has(digest) {
		t.Error("another farm's artifact was deleted")
	}
	f.redis.FlushAll() // this Redis lost everything: it cannot know what is garbage
	if _, err := f.collect(garbage.Options{}); !errors.Is(err, artifacts.ErrForeign) || !f.has(digest) {
		t.Errorf("Collect after a loss = %v, the artifact is there: %t", err, f.has(digest))
	}
}

// TestStoreIsTakenAway: a store that is unmounted in the middle of a collection is
// deleted from no more, and neither is what is in its place.
func TestStoreIsTakenAway(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	trash := f.put("garbage", old)
	f.unpin()
	if err := artifacts.NewOwner(f.records, f.store, "memory").Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	var undo func()
	inPlace := hooked{Store: f.store, delete: func() { undo = f.store.Swap() }}
	if r, err := f.collector(inPlace, garbage.Options{}).Collect(t.Context()); !errors.Is(err, artifacts.ErrForeign) {
		t.Errorf("Collect = %+v, %v, want ErrForeign", r, err)
	}
	undo()
	if !f.has(trash) {
		t.Error("the store lacks what was to be deleted when it was away")
	}
}

// A farm for trying out does not know what others have in the store that it was
// given.
func TestAnyStore(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	if _, err := f.records.RememberStore(t.Context(), artifacts.AnyMark().Store, true); err != nil {
		t.Fatal(err)
	}
	digest := f.put("another farm's", old)
	f.unpin()
	for _, dry := range []bool{false, true} {
		if r, err := f.collect(garbage.Options{DryRun: dry}); err == nil || r.Deleted > 0 || !f.has(digest) {
			t.Errorf("Collect = %+v, %v, want it refused", r, err)
		}
	}
}

// TestHalfway: whatever fails, nothing is deleted that is not garbage, and the
// next collection does the rest.
func TestHalfway(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	named := f.put("context", old)
	f.job("queued", &jobs.Context{Ref: artifacts.Ref(named)})
	f.unpin()
	trash := f.put("garbage", old)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.collector(f.store, garbage.Options{}).Collect(ctx); err == nil {
		t.Error("Collect with a cancelled context = nil")
	}
	f.redis.SetError("LOADING Redis is loading the dataset in memory")
	if _, err := f.collect(garbage.Options{}); err == nil {
		t.Error("Collect without Redis = nil")
	}
	f.redis.SetError("")
	if !f.has(named) || !f.has(trash) {
		t.Error("something was deleted")
	}
	// A collector that died between the announcement and the deletion.
	if free, err := f.records.Condemn(t.Context(), []string{trash, named}, false); err != nil || len(free) != 2 {
		t.Fatalf("Condemn = %v, %v", free, err)
	}
	if r, err := f.collect(garbage.Options{}); err != nil || r.Deleted != 0 {
		t.Errorf("Collect right after another one = %+v, %v, want nothing deleted", r, err)
	}
	f.redis.SetTime(time.Now().Add(2 * artifacts.CondemnedFor))
	if r, err := f.collect(garbage.Options{}); err != nil || r.Deleted != 1 || f.has(trash) || !f.has(named) {
		t.Errorf("Collect a while after = %+v, %v, want the garbage deleted", r, err)
	}
}

// hooked calls back in the middle of a collection.
type hooked struct {
	artifacts.Store
	list, stat, delete func()
}

func call(f func()) {
	if f != nil {
		f()
	}
}

func (h hooked) List(ctx context.Context, f func(artifacts.Stored) error) error {
	call(h.list)
	return h.Store.List(ctx, f)
}

func (h hooked) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	call(h.stat)
	return h.Store.Stat(ctx, digest)
}

func (h hooked) Delete(ctx context.Context, digest string) error {
	call(h.delete)
	return h.Store.Delete(ctx, digest)
}

// announced sends on a channel when a writer asks for a pin.
type announced struct {
	artifacts.Pins
	asked chan bool
}

func (p announced) Pin(ctx context.Context, digest string) (bool, error) {
	condemned, err := p.Pins.Pin(ctx, digest)
	p.asked <- condemned
	return condemned, err
}

// TestMeanwhile: whatever a writer begins to count on during a collection is
// there afterwards.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (f *farm, digest string, again func()) {
		f = newFarm(t)
		digest = f.put("content", old)
		return f, digest, func() { f.put("content", 0) }
	}
	collect := func(t *testing.T, f *farm, h hooked, digest string) {
		t.Helper()
		h.Store = f.store
		r, err := f.collector(h, garbage.Options{}).Collect(t.Context())
		if err != nil || !f.has(digest) {
			t.Errorf("Collect = %+v, %v; the artifact is there: %t", r, err, f.has(digest))
		}
	}
	t.Run("put again after the names were read", func(t *testing.T) {
		t.Parallel()
		f, digest, again := setup(t)
		collect(t, f, hooked{list: again}, digest)
	})
	t.Run("named after the names were read", func(t *testing.T) {
		t.Parallel()
		f, digest, _ := setup(t)
		collect(t, f, hooked{list: func() { f.job("late", &jobs.Context{Ref: artifacts.Ref(digest)}) }}, digest)
	})
	t.Run("put again while it is being deleted", func(t *testing.T) {
		t.Parallel()
		f, digest, again := setup(t)
		pins := announced{f.records, make(chan bool, 1000)}
		f.blobs.Pins = pins
		written := make(chan struct{})
		collect(t, f, hooked{delete: func() {
			go func() {
				again()
				close(written)
			}()
			for range 2 { // it looks again and again
				select {
				case condemned := <-pins.asked:
					if !condemned || !f.has(digest) {
						t.Errorf("condemned: %t, there: %t; want both", condemned, f.has(digest))
					}
				case <-written:
					t.Error("the writer did not wait for the deletion")
				}
			}
		}}, f.put("young", 0))
		<-written
		if !f.has(digest) {
			t.Error("the writer counts on an artifact that was deleted")
		}
	})
	t.Run("deleted by another one and put anew", func(t *testing.T) {
		t.Parallel()
		f, digest, again := setup(t)
		collect(t, f, hooked{stat: func() {
			if err := f.store.Delete(t.Context(), digest); err != nil {
				t.Error(err)
			}
			again()
		}}, digest)
	})
	t.Run("pinned, then gone before it was looked at", func(t *testing.T) {
		t.Parallel()
		f, digest, again := setup(t)
		f.blobs.Pins = deleting{f, digest}
		again()
		if !f.has(digest) {
			t.Error("the writer counts on an artifact that was deleted")
		}
	})
}

// deleting is a collector that is over between a writer's look and its pin.
type deleting struct {
	f      *farm
	digest string
}

func (d deleting) Pin(ctx context.Context, digest string) (bool, error) {
	if err := d.f.store.Delete(ctx, d.digest); err != nil {
		return false, err
	}
	return d.f.records.Pin(ctx, digest)
}

// stubborn is a store with a blob that cannot be looked at.
type stubborn struct {
	artifacts.Store
	digest string
}

func (s stubborn) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	if digest == s.digest {
		return artifacts.Info{}, fs.ErrPermission
	}
	return s.Store.Stat(ctx, digest)
}

// One blob that withstands does not keep the others.
func TestOneBlobWithstands(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	bad := f.put("bad", old)
	for i := range 250 {
		f.put(fmt.Sprint("garbage ", i), old)
	}
	f.unpin()
	r, err := f.collector(stubborn{f.store, bad}, garbage.Options{}).Collect(t.Context())
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), bad) || r.Deleted != 250 || r.Kept != 1 {
		t.Errorf("report %+v, %v, want 250 deleted and what is wrong with the one", r, err)
	}
}

// A dry run claims nothing and writes nothing.
func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.put("x", old)
	f.unpin()
	keys := len(f.redis.Keys())
	if r, err := f.collect(garbage.Options{DryRun: true}); err != nil || r.Deleted != 1 {
		t.Errorf("report %+v, %v", r, err)
	}
	if m, err := f.store.Mark(t.Context()); m != (artifacts.Mark{}) || err != nil || len(f.redis.Keys()) != keys {
		t.Errorf("the store has the mark %q (%v), and Redis has %q", m, err, f.redis.Keys())
	}
}

func TestSentence(t *testing.T) {
	t.Parallel()
	r := garbage.Report{Kept: 3, Deleted: 2, Bytes: 100}
	if got := r.Sentence(false); got != "deleted 2 artifacts, 100 bytes; kept 3" {
		t.Errorf("%q; want what was deleted", got)
	}
	if got := r.Sentence(true); got != "would delete 2 artifacts, 100 bytes; kept 3" {
		t.Errorf("%q; want what would be", got)
	}
}
