package pack_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/pack"
)

// When a file of a large directory has changed, the chunks around it are sent; so they are when
// nothing is remembered, or when the store has lost what is.
func TestOnlyWhatChangedIsSent(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 18<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // never fails
	files := map[string]string{"middle": "as it was"}
	for i, name := range []string{"a", "b", "c", "x", "y", "z"} {
		files[name] = string(noise[i*3<<20 : (i+1)*3<<20])
	}
	d := newDesk(t, files)
	send := func(least, most int64) {
		t.Helper()
		up, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts)
		d.must(err)
		if up.Sent < least || up.Sent > most || up.Existed || up.Sent+up.Had > up.Stored+10_000 {
			t.Errorf("%d bytes were sent and %d were there of %d, want %d to %d sent", up.Sent, up.Had, up.Stored, least, most)
		}
	}
	send(18<<20, 19<<20)
	d.write("middle", "has changed")
	send(1, 9<<20)
	d.opts.CacheDir = ""
	d.write("middle", "has changed once more")
	send(1, 9<<20)
	d.opts.CacheDir = t.TempDir()
	d.write("a0", "new")
	send(1, 9<<20)
	d.store = artifactstest.NewStore()
	d.write("middle", "has changed since the store was lost")
	send(18<<20, 19<<20)
}

// What is remembered of a part of a directory is not taken for all of it.
func TestTreeShrinks(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "a", "large": ""})
	d.must(os.Truncate(d.path("large"), pack.RecentBytes+1))
	d.upload(false)
	d.must(os.Remove(d.path("large")))
	d.upload(false)
}
