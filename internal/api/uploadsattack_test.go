package api

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// patch sends the next piece of an upload.
func (f *farm) patch(path string, offset int, complete string, piece []byte) reply {
	f.t.Helper()
	return f.send(request{method: "PATCH", path: path, as: "submitter", body: bytes.NewReader(piece), header: http.Header{
		"Upload-Offset": {fmt.Sprint(offset)}, "Upload-Complete": {complete},
	}})
}

func (f *farm) beginUpload(as string) string {
	f.t.Helper()
	r := f.send(request{method: "POST", path: "/v1/uploads", as: as, header: http.Header{"Upload-Complete": {"?0"}}}).want(f.t, http.StatusCreated)
	return r.Header.Get("Location")
}

// A server that was killed between the files of an upload leaves none that is found, and its
// successor removes what is left.
func TestUploadsAfterACrash(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	dir := f.server.UploadDir
	if err := f.server.parts.open(); err != nil {
		t.Fatal(err)
	}
	for i, files := range [][]string{{"part"}, {"json"}, {"json.tmp"}, {"part", "json.tmp"}, {"part", "json"}} {
		id := strings.Repeat(string(rune('a'+i)), 26)
		for _, what := range files {
			if err := os.WriteFile(filepath.Join(dir, id+"."+what), nil, 0o600); err != nil { // a note without content
				t.Fatal(err)
			}
		}
		path := "/v1/uploads/" + id
		f.send(request{method: "HEAD", path: path, as: "submitter"}).want(t, http.StatusNotFound)
		f.patch(path, 0, "?1", []byte("x")).want(t, http.StatusNotFound).problem(t, "not_found")
		f.send(request{method: "DELETE", path: path, as: "submitter"}).want(t, http.StatusNotFound)
	}
	keep := f.beginUpload("submitter")
	if err := f.server.parts.tidy(time.Now().Add(uploadKept/2), ""); err != nil {
		t.Fatal(err)
	}
	f.send(request{method: "HEAD", path: keep, as: "submitter"}).want(t, http.StatusNoContent)
	if err := f.server.parts.tidy(time.Now().Add(uploadKept+time.Minute), ""); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// Of pieces that come at the same time, to two servers on one directory, one is taken at each
// place; the others are told to wait, or where to go on. Nothing is torn.
func TestUploadsAtTheSameTime(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	other := newFarm(t, func(o *Options) {
		o.Farm, o.UploadDir = f.server.Farm, f.server.UploadDir
	})
	other.tokens = f.tokens
	path := f.beginUpload("submitter")
	content := hello(t).Bytes()
	const size = 256
	var wg sync.WaitGroup
	for i := range 8 {
		srv := f
		if i%2 == 1 {
			srv = other
		}
		wg.Go(func() {
			for until := time.Now().Add(20 * time.Second); time.Now().Before(until); {
				head := srv.send(request{method: "HEAD", path: path, as: "submitter"})
				var at int
				if _, err := fmt.Sscan(head.Header.Get("Upload-Offset"), &at); err != nil || at >= len(content) {
					return
				}
				switch r := srv.patch(path, at, "?0", content[at:min(at+size, len(content))]); r.StatusCode {
				case http.StatusNoContent, http.StatusConflict, http.StatusServiceUnavailable:
				default:
					t.Errorf("a piece: %d %s", r.StatusCode, r.body)
					return
				}
			}
		})
	}
	wg.Wait()
	made := into[stored](t, f.patch(path, len(content), "?1", nil).want(t, http.StatusCreated))
	if whole := into[stored](t, f.send(request{method: "POST", path: "/v1/contexts", as: "submitter", body: hello(t)}).want(t, http.StatusOK)); whole.Digest != made.Digest {
		t.Error("the pieces make another context")
	}
	// The end of one, and what else comes to it, meet: each is answered as what it finds.
	for range 20 {
		path := f.beginUpload("submitter")
		wg.Go(func() { f.patch(path, 0, "?1", content) })
		wg.Go(func() { other.patch(path, 0, "?1", content) })
		wg.Go(func() { f.send(request{method: "HEAD", path: path, as: "submitter"}) })
		wg.Go(func() { other.send(request{method: "DELETE", path: path, as: "submitter"}) })
		wg.Wait()
		for _, srv := range []*farm{f, other} {
			if r := srv.send(request{method: "DELETE", path: path, as: "submitter"}); r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusNoContent {
				t.Errorf("afterwards: %d", r.StatusCode)
			}
		}
	}
	if left, err := os.ReadDir(f.server.UploadDir); err != nil || len(left) != 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// A directory that others made, or can write to, is not used.
func TestUploadsOfOthers(t *testing.T) {
	t.Parallel()
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, link, file} {
		u := &uploadFiles{dir: dir}
		if id, err := u.begin(uploadNote{}); err == nil {
			t.Errorf("%s: the upload %s began", filepath.Base(dir), id)
		}
	}
}

// What cannot come to an end is refused before it has begun.
func TestUploadsWithAWrongDigest(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	f.send(request{method: "POST", path: "/v1/uploads?digest=md5:1", as: "submitter", header: http.Header{"Upload-Complete": {"?0"}}}).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	if left, err := os.ReadDir(f.server.UploadDir); len(left) != 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// One token cannot take the room for uploads of the others.
func TestUploadsOfOneToken(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for range mostOwn {
		if _, err := f.server.parts.begin(uploadNote{Token: "greedy"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.server.parts.begin(uploadNote{Token: "greedy"}); err == nil || problemOf(err).kind() != "busy" {
		t.Errorf("one more: %v", err)
	}
	f.beginUpload("submitter")
}

// Nor by beginning them all at once. Those that are refused are told when to come again, and leave
// nothing.
func TestUploadsBegunAtOnce(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	const many = 4 * mostOwn
	var begun, refused atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range many / 16 {
				r := f.send(request{method: "POST", path: "/v1/uploads", as: "submitter", header: http.Header{"Upload-Complete": {"?0"}}})
				switch {
				case r.StatusCode == http.StatusCreated:
					begun.Add(1)
				case r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") == "60":
					refused.Add(1)
				default:
					t.Errorf("answered with %d %s", r.StatusCode, r.body)
				}
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(f.server.UploadDir)
	if begun.Load() != mostOwn || refused.Load() != many-mostOwn || err != nil || len(left) != 2*mostOwn {
		t.Errorf("%d began and %d were refused, %d files are there (%v); want %d and %d, %d", begun.Load(), refused.Load(), len(left), err, mostOwn, many-mostOwn, 2*mostOwn)
	}
}

// One that is too large, or does not fit on the disk, leaves nothing.
func TestUploadsThatDoNotFit(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Limits.Compressed, o.Limits.Size = 1000, 1000 })
	path := f.beginUpload("submitter")
	f.patch(path, 0, "?0", make([]byte, 900)).want(t, http.StatusNoContent)
	f.patch(path, 900, "?0", make([]byte, 900)).want(t, http.StatusRequestEntityTooLarge).problem(t, "context_too_large")
	f.send(request{method: "HEAD", path: path, as: "submitter"}).want(t, http.StatusNotFound)
	path = f.beginUpload("submitter")
	part := f.server.parts.part(filepath.Base(path))
	if err := os.Remove(part); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", part); err != nil {
		t.Fatal(err)
	}
	p := f.patch(path, 0, "?0", []byte("x")).want(t, http.StatusInsufficientStorage).problem(t, string(jobs.KindDiskFull))
	if strings.Contains(fmt.Sprint(p), f.server.UploadDir) {
		t.Errorf("the problem tells where uploads are: %+v", p)
	}
	if left, err := os.ReadDir(f.server.UploadDir); err != nil || len(left) != 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// Uploads leave the disk as much room as a build host needs, also when one piece is more than that:
// others are on that disk, too. What has come before stays.
func TestUploadsLeaveRoom(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	var free, takes atomic.Int64 // and what each look finds less than the one before
	free.Store(2<<30 + 1)
	f.server.parts.room = func(string) (diskroom.Room, error) {
		return diskroom.Room{Free: uint64(free.Add(-takes.Load()) + takes.Load()), Total: 200 << 30}, nil
	}
	path := f.beginUpload("submitter")
	f.patch(path, 0, "?0", []byte("x")).want(t, http.StatusNoContent)
	refused := func(piece []byte) {
		t.Helper()
		p := f.patch(path, 1, "?0", piece).want(t, http.StatusInsufficientStorage).problem(t, string(jobs.KindDiskFull))
		if strings.Contains(fmt.Sprint(p), f.server.UploadDir) {
			t.Errorf("the problem tells where uploads are: %+v", p)
		}
		if got := f.send(request{method: "HEAD", path: path, as: "submitter"}).want(t, http.StatusNoContent).Header.Get("Upload-Offset"); got != "1" {
			t.Errorf("%s bytes have come, want 1", got)
		}
	}
	takes.Store(lookEvery) // after the first look
	refused(make([]byte, 2*lookEvery))
	refused([]byte("y"))
	free.Store(100 << 30)
	f.patch(path, 1, "?0", []byte("y")).want(t, http.StatusNoContent)
}
