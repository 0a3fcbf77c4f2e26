package pack_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/pack"
)

// A cache file with any damage is the same as none.
func TestDamagedCacheFile(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"a": "A"})
	d.settled()
	d.upload(true)
	path := pack.CacheFile(d.dir, d.opts)
	whole, err := os.ReadFile(path)
	d.must(err)
	damaged := [][]byte{nil, append(bytes.Clone(whole), 0), bytes.Repeat([]byte{0}, len(whole))}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << (i % 8)
		damaged = append(damaged, flipped, whole[:i])
	}
	later := bytes.Replace(whole, []byte("pack 1\n"), []byte("pack 2\n"), 1)
	damaged = append(damaged, summed(later[:len(later)-sha256.Size]))
	for i, content := range damaged {
		d.must(os.WriteFile(path, content, 0o600))
		if up, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts); err != nil || up.Unchanged || len(up.Warnings) > 0 {
			t.Fatalf("damage %d of %d: %+v, %v; want it packed", i, len(damaged), up, err)
		}
		if i%100 == 0 {
			d.upload(true)
		}
	}
	// It can be extended: sections of unknown kinds are left alone.
	at := bytes.IndexByte(whole, '\n') + 1
	at += 2 + int(whole[at+1]&0x7f) + int(whole[at+2]&0x7f)<<7 + 1 // the key has more than 127 bytes
	d.must(os.WriteFile(path, summed(append(append(bytes.Clone(whole[:at]), "x\x03new"...), whole[at:len(whole)-sha256.Size]...)), 0o600))
	d.upload(true)
}

func summed(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(bytes.Clone(content), sum[:]...)
}

// A file with a right sum may still be none of this program.
func FuzzCacheFile(f *testing.F) {
	d := newDesk(f, map[string]string{"a": "A", "link": "->a"})
	d.settled()
	raw, err := os.ReadFile(pack.CacheFile(d.dir, d.opts))
	d.must(err)
	f.Add(raw[:len(raw)-sha256.Size])
	for _, text := range []string{"", "slipway pack 1\n", "slipway pack 1\nk\x01k", "slipway pack 1\nk\x01ke\x02\x00\x00", "slipway pack 1\nk\x01kr\x02{}", "slipway pack 1\nk\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "slipway pack 1\nk\x01ke\x05\x01\x00\x01\x80\x80"} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, summed(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := pack.ReadCache(path, "k"); err == nil && !bytes.HasPrefix(content, []byte("slipway pack 1\nk\x01k")) {
			t.Errorf("%q was read", content)
		}
	})
}

// What was not used for long goes, and so do the oldest of too many.
func TestTidy(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	file := func(name string, age time.Duration, size int64) {
		t.Helper()
		p := filepath.Join(dir, name)
		err := errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, size), os.Chtimes(p, now.Add(-age), now.Add(-age)))
		if err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " ")
	}
	const day = 24 * time.Hour
	file("used", 29*day, 1)
	file("unused", 31*day, 1)
	file("dead.1.tmp", 25*time.Hour, 1)
	file("writes.2.tmp", 23*time.Hour, 1)
	pack.Tidy(dir, now)
	if got, want := left(), "used writes.2.tmp"; got != want {
		t.Errorf("left are %q, want %q", got, want)
	}
	file("huge", day/2, 200<<20)
	file("new", 0, 100<<20)
	pack.Tidy(dir, now)
	if got, want := left(), "new"; got != want {
		t.Errorf("left of so many bytes are %q, want %q", got, want)
	}
	for i := range 150 {
		file(fmt.Sprintf("many%03d", i), time.Duration(i+1)*time.Minute, 1)
	}
	pack.Tidy(dir, now)
	if got := strings.Fields(left()); len(got) != 100 || got[0] != "many000" || got[98] != "many098" || got[99] != "new" {
		t.Errorf("left are %d: %q", len(got), got)
	}
	pack.Tidy(filepath.Join(dir, "none"), now)
}
