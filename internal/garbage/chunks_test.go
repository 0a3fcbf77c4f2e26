package garbage_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/garbage"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// keepLarge stores large content in chunks, and returns its digest and those of its chunks.
func (f *farm) keepLarge(content []byte, age time.Duration) (digest string, chunks []string) {
	f.t.Helper()
	blob := artifactstest.Keep(f.t, f.blobs, content)
	x, err := f.blobs.Index(f.t.Context(), blob.Digest)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range x {
		chunks = append(chunks, c.Digest)
		f.store.Age(c.Digest, age)
	}
	f.store.Age(blob.Digest, age)
	return blob.Digest, chunks
}

// TestChunks: chunks go when no index has them, one collection after the last one that had
// them.
func TestChunks(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	content := make([]byte, 18<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	named, kept := f.keepLarge(content[:17<<20], old)
	garbageOf, chunks := f.keepLarge(content[1<<20:], old)
	f.job("j", &jobs.Context{Ref: artifacts.Ref(named)})
	both := map[string]bool{}
	for _, c := range kept {
		both[c] = true
	}
	alone := 0
	for _, c := range chunks {
		if !both[c] {
			alone++
		}
	}
	if alone == 0 || alone == len(chunks) {
		t.Fatalf("%d of %d chunks are of one context alone, want some", alone, len(chunks))
	}
	f.unpin()
	if r, err := f.collect(garbage.Options{}); err != nil || r.Deleted != 1 {
		t.Fatalf("Collect = %+v, %v, want the index of what is not named deleted", r, err)
	}
	if r, err := f.collect(garbage.Options{DryRun: true}); err != nil || r.Deleted != alone {
		t.Errorf("Collect without deleting = %+v, %v, want %d chunks", r, err, alone)
	}
	if r, err := f.collect(garbage.Options{}); err != nil || r.Deleted != alone {
		t.Errorf("Collect = %+v, %v, want the %d chunks deleted that it had alone", r, err, alone)
	}
	has, err := f.blobs.Has(t.Context(), named)
	if gone, errGone := f.blobs.Has(t.Context(), garbageOf); !has || gone || err != nil || errGone != nil {
		t.Errorf("the store has what is named: %t, %v, and what is not: %t, %v", has, err, gone, errGone)
	}
}

// TestChunksMeanwhile: a producer that finds chunks before or while they are collected has
// them afterwards.
func TestChunksMeanwhile(t *testing.T) {
	t.Parallel()
	content := make([]byte, 17<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	for name, before := range map[string]func(f *farm, digest string){
		"nothing has them":     func(f *farm, digest string) { _ = f.store.In(artifacts.Indexes).Delete(f.t.Context(), digest) },
		"an index that is old": func(*farm, string) {},
		"one that is no index": func(f *farm, digest string) { f.store.Damage(f.t, digest, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t)
			digest, _ := f.keepLarge(content, old)
			before(f, digest)
			f.unpin()
			h := hookedPlaces{f.store, func() { f.keepLarge(content, 0) }}
			if r, err := f.collector(h, garbage.Options{}).Collect(t.Context()); err != nil {
				t.Errorf("Collect = %+v, %v", r, err)
			}
			if has, err := f.blobs.Has(t.Context(), digest); !has || err != nil {
				t.Errorf("the store has it: %t, %v, want it there", has, err)
			}
		})
	}
}

// hookedPlaces calls back before chunks are listed, once all indexes are known.
type hookedPlaces struct {
	artifacts.Store
	list func()
}

func (h hookedPlaces) In(p artifacts.Place) artifacts.Store {
	if p == artifacts.Chunks {
		return hooked{Store: h.Store.In(p), list: h.list}
	}
	return h.Store.In(p)
}
