package pack_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

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
