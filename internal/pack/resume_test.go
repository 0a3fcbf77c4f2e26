package pack_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/pack"
)

// noisy is a tree of n files in a few directories, none like another.
func noisy(r *rand.ChaCha8, n, size int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("d%d/f%04d", i*7/n, i)] = noise(r, size)
	}
	return files
}

func noise(r *rand.ChaCha8, size int) string {
	b := make([]byte, size)
	_, _ = r.Read(b) // never fails
	return string(b)
}

// stored makes sure that the store has the content of a digest.
func (d *desk) stored(up pack.Uploaded) {
	d.Helper()
	data, err := d.blobs().Open(d.Context(), up.Context.Digest)
	d.must(err)
	defer data.Close()
	dec, err := zstd.NewReader(data)
	d.must(err)
	defer dec.Close()
	if _, err := io.Copy(io.Discard, artifacts.Verify(dec, up.Report.Blob)); err != nil {
		d.Error(err)
	}
}

// What is before the first change is not read again, and the tar is the one that it would be.
func TestResume(t *testing.T) {
	t.Parallel()
	noiseOf := rand.NewChaCha8([32]byte{1})
	r := rand.New(noiseOf)
	files := noisy(noiseOf, 90, 500_000)
	// The Dockerfile comes first, under another name; directories wait for what is in them.
	files[".dockerignore"] = "Dockerfile\nd2\n!d2/f*1\n"
	d := newDesk(t, files)
	beside := newDesk(t, map[string]string{"a/b": "b", "a/c": noise(noiseOf, 5_000_000), "d": "d"})
	d.opts.Pack.Beside = []pack.Beside{{Name: "beside", Dir: beside.dir, Path: contexts.HiddenPrefix + "beside"}}
	d.stored(d.settled())
	name := func() string { i := r.IntN(90); return fmt.Sprintf("d%d/f%04d", i*7/90, i) }
	exists := func(name string) bool { _, err := os.Stat(d.path(name)); return err == nil }
	var resumed int
	for n := range 25 {
		for range 1 + r.IntN(2) {
			switch at := name(); r.IntN(8) {
			case 0:
				d.must(os.RemoveAll(d.path(at)))
			case 1:
				d.write(at, noise(noiseOf, 100+r.IntN(900_000)))
			case 2:
				if exists(at) {
					d.must(os.Chmod(d.path(at), 0o755))
				}
			case 3:
				d.write(at+"-new", "new")
			case 4:
				d.write("Dockerfile", fmt.Sprintf("FROM scratch\nLABEL n=%d\n", n))
			case 5:
				beside.write("d", fmt.Sprint(n))
			case 6:
				d.must(os.RemoveAll(d.path("d6")))
				d.must(os.Mkdir(d.path("d6"), 0o755))
			default:
				if exists(at) {
					d.write(at, noise(noiseOf, 500_000))
				}
			}
		}
		up, err := pack.Upload(t.Context(), d.blobs(), d.dir, d.opts)
		d.must(err)
		want, err := pack.Write(t.Context(), io.Discard, d.dir, d.opts.Pack)
		d.must(err)
		if up.Report.Blob != want.Blob || up.Report.Files != want.Files || up.Report.Bytes != want.Bytes {
			t.Fatalf("change %d: uploaded %+v, want %+v; %d bytes were not read", n, up.Report, want, up.Unread)
		}
		d.stored(up)
		if up.Unread > 0 {
			resumed++
		}
	}
	if resumed < 5 {
		t.Errorf("%d of 25 packs went on behind what had not changed, want more", resumed)
	}
}

// In the middle of a large tree nearly half is not read; the names and modes in it count.
func TestResumeInTheMiddle(t *testing.T) {
	t.Parallel()
	noiseOf := rand.NewChaCha8([32]byte{2})
	d := newDesk(t, noisy(noiseOf, 700, 60_000))
	d.settled()
	d.write("d3/f0350", noise(noiseOf, 60_000))
	up := d.upload(false)
	if up.Unread < up.Report.Size/3 || up.Unread > up.Report.Size/2 {
		t.Errorf("%d of %d bytes were not read, want nearly a half", up.Unread, up.Report.Size)
	}
	d.stored(up)
	d.write("d6/f0699", noise(noiseOf, 60_000))
	up = d.upload(false)
	if up.Unread < up.Report.Size*3/4 {
		t.Errorf("%d of %d bytes were not read after a change of the last file", up.Unread, up.Report.Size)
	}
	d.stored(up)
}

// What changes after it was found to be as it was is packed all the same.
func TestResumeMoves(t *testing.T) {
	t.Parallel()
	noiseOf := rand.NewChaCha8([32]byte{3})
	d := newDesk(t, noisy(noiseOf, 1200, 30_000))
	d.settled()
	d.write("d6/f1199", noise(noiseOf, 30_000))
	moved := false
	d.opts.Pack.Progress = func(pack.Report) {
		if !moved {
			moved = true
			d.write("d4/f0800", noise(noiseOf, 30_000))
		}
	}
	up := d.upload(false)
	if !moved || up.Unread != 0 {
		t.Errorf("%d bytes were not read, and one of their files had changed meanwhile", up.Unread)
	}
	d.stored(up)
}

// So is a tree of which the end is gone by then.
func TestResumeShrinks(t *testing.T) {
	t.Parallel()
	noiseOf := rand.NewChaCha8([32]byte{4})
	files := map[string]string{}
	for i := range 1200 {
		files[fmt.Sprintf("%s/f%04d", []string{"a", "z"}[i/600], i)] = noise(noiseOf, 30_000)
	}
	d := newDesk(t, files)
	d.settled()
	d.write("z/f1199", noise(noiseOf, 30_000))
	gone := false
	d.opts.Pack.Progress = func(pack.Report) {
		if !gone {
			gone = true
			for name := range files {
				if strings.HasPrefix(name, "z/") {
					d.must(os.Remove(d.path(name)))
				}
			}
		}
	}
	up := d.upload(false)
	if !gone || up.Unread != 0 {
		t.Errorf("%d bytes were not read, and some of their files are gone", up.Unread)
	}
	d.stored(up)
}
