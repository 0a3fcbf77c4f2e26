package api

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestContexts(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	made := into[stored](t, f.send(request{method: "POST", path: "/v1/contexts", as: "submitter", body: hello(t)}).want(t, http.StatusCreated))
	if made.Ref != "cas:"+made.Digest || made.Existed {
		t.Errorf("the context is %+v", made)
	}
	again := into[stored](t, f.send(request{method: "POST", path: "/v1/contexts?digest=" + made.Digest, as: "submitter", body: hello(t)}).want(t, http.StatusOK))
	if again.Digest != made.Digest || !again.Existed {
		t.Errorf("the second time it is %+v", again)
	}
	f.send(request{method: "GET", path: "/v1/contexts/" + made.Digest, as: "submitter"}).want(t, http.StatusOK)
	f.send(request{method: "HEAD", path: "/v1/contexts/" + made.Digest, as: "submitter"}).want(t, http.StatusOK)
	none := "sha256:" + zeros
	f.send(request{method: "HEAD", path: "/v1/contexts/" + none, as: "submitter"}).want(t, http.StatusNotFound)
	f.send(request{method: "GET", path: "/v1/contexts/..%2f..%2fetc", as: "submitter"}).want(t, http.StatusNotFound).problem(t, "not_found")
	f.send(request{method: "POST", path: "/v1/contexts?digest=" + none, as: "submitter", body: hello(t)}).want(t, http.StatusUnprocessableEntity).problem(t, "context_digest_mismatch")
	f.send(request{method: "POST", path: "/v1/contexts?digest=md5:1", as: "submitter", body: hello(t)}).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	f.send(request{method: "POST", path: "/v1/contexts?dockerfile=other", as: "submitter", body: hello(t)}).want(t, http.StatusUnprocessableEntity).problem(t, "dockerfile_missing")
}

// A context comes in pieces, one of which is cut off, and goes on where it was.
func TestUploads(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	content := hello(t).Bytes()
	patch := func(path, offset, complete string, body io.Reader) reply {
		return f.send(request{method: "PATCH", path: path, as: "submitter", body: body, header: http.Header{"Upload-Offset": {offset}, "Upload-Complete": {complete}}})
	}
	r := f.send(request{method: "POST", path: "/v1/uploads", as: "submitter", header: http.Header{"Upload-Complete": {"?0"}}, body: bytes.NewReader(content[:100])}).want(t, http.StatusCreated)
	path := r.Header.Get("Location")
	if r.Header.Get("Upload-Offset") != "100" {
		t.Fatalf("begun with %v", r.Header)
	}
	// A piece that is cut off.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, f.http.URL+path, io.MultiReader(bytes.NewReader(content[100:700]), failing{}))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Upload-Offset": {"100"}, "Authorization": {"Bearer " + f.tokens["submitter"]}}
	if resp, err := f.http.Client().Do(req); err == nil {
		_ = resp.Body.Close()
		t.Fatalf("the piece that was cut off: %d", resp.StatusCode)
	}
	var offset int
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		r = f.send(request{method: "HEAD", path: path, as: "submitter"}).want(t, http.StatusNoContent)
		if offset, err = strconv.Atoi(r.Header.Get("Upload-Offset")); err != nil || offset == 700 {
			break
		}
	}
	if offset != 700 {
		t.Fatalf("%d bytes have come, want 700", offset)
	}
	patch(path, "100", "?0", strings.NewReader("x")).want(t, http.StatusConflict).problem(t, "upload_offset_wrong")
	patch(path, "x", "?0", strings.NewReader("x")).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	patch(path, "700", "yes", strings.NewReader("x")).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	if r := f.send(request{method: "HEAD", path: path, as: "blue"}); r.StatusCode != http.StatusNotFound {
		t.Errorf("another token sees the upload: %d", r.StatusCode)
	}
	made := into[stored](t, patch(path, "700", "?1", bytes.NewReader(content[700:])).want(t, http.StatusCreated))
	if has, err := f.blobs.Has(t.Context(), made.Digest); err != nil || !has {
		t.Errorf("the store does not have %s: %v", made.Digest, err)
	}
	f.send(request{method: "HEAD", path: path, as: "submitter"}).want(t, http.StatusNotFound)

	// One that is no context goes away with its refusal, one that is given up, too.
	r = f.send(request{method: "POST", path: "/v1/uploads", as: "submitter", body: strings.NewReader(strings.Repeat("no tar", 200))}).want(t, http.StatusUnprocessableEntity)
	r.problem(t, "context_not_tar")
	r = f.send(request{method: "POST", path: "/v1/uploads", as: "submitter", header: http.Header{"Upload-Complete": {"?0"}}}).want(t, http.StatusCreated)
	f.send(request{method: "DELETE", path: r.Header.Get("Location"), as: "submitter"}).want(t, http.StatusNoContent)
	if left, err := os.ReadDir(f.server.UploadDir); err != nil || len(left) != 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("cut off") }

// Uploads to which nothing comes are removed, and there are not too many.
func TestUploadsAreTidied(t *testing.T) {
	t.Parallel()
	u := &uploadFiles{dir: filepath.Join(t.TempDir(), "uploads")}
	id, err := u.begin(uploadNote{Token: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.tidy(time.Now().Add(uploadKept/2), ""); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(u.part(id)); err != nil {
		t.Error("it was removed too soon")
	}
	if err := u.tidy(time.Now().Add(uploadKept+time.Minute), ""); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(u.dir); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	for range mostUploads {
		if err := os.WriteFile(u.part(strings.ToLower(rand.Text())), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = u.begin(uploadNote{}); err == nil || problemOf(err).kind() != "busy" {
		t.Errorf("one more: %v", err)
	}
}

// A body that is larger than a context may be, or that stands still, is refused.
func TestBodies(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Limits.Compressed, o.Limits.Size, o.Patience = 1000, 1000, 200*time.Millisecond })
	f.send(request{method: "POST", path: "/v1/uploads", as: "submitter", body: hello(t)}).want(t, http.StatusRequestEntityTooLarge).problem(t, "context_too_large")
	in, out := io.Pipe()
	defer out.Close()
	go func() { _, _ = out.Write(hello(t).Bytes()[:600]) }()
	f.send(request{method: "POST", path: "/v1/contexts", as: "submitter", body: in}).want(t, http.StatusRequestTimeout).problem(t, "wait_timeout")
}

// A tar that is not compressed may come in pieces as large as in one.
func TestUploadsOfPlainTars(t *testing.T) {
	t.Parallel()
	f := newFarm(t, func(o *Options) { o.Limits.Compressed, o.Limits.Size = 1000, 20_000 })
	begin := func(complete string, body io.Reader) reply {
		return f.send(request{method: "POST", path: "/v1/uploads", as: "submitter", header: http.Header{"Upload-Complete": {complete}}, body: body})
	}
	content := hello(t).Bytes()
	begin("?1", bytes.NewReader(content)).want(t, http.StatusCreated)
	r := begin("?0", bytes.NewReader(content[:1500])).want(t, http.StatusCreated)
	more := f.send(request{
		method: "PATCH", path: r.Header.Get("Location"), as: "submitter", body: bytes.NewReader(content[1500:]),
		header: http.Header{"Upload-Offset": {"1500"}, "Upload-Complete": {"?1"}},
	}).want(t, http.StatusOK)
	if made := into[stored](t, more); made.Size != int64(len(content)) || !made.Existed {
		t.Errorf("in two pieces it is %+v", made)
	}
	begin("?0", bytes.NewReader(append(content, make([]byte, 20_000)...))).want(t, http.StatusRequestEntityTooLarge).problem(t, "context_too_large")
	packed := append([]byte("\x1f\x8b"), make([]byte, 2000)...)
	begin("?0", bytes.NewReader(packed)).want(t, http.StatusRequestEntityTooLarge).problem(t, "context_too_large")
}
