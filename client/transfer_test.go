package client

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// once is a reader that cannot be read twice.
type once struct{ io.Reader }

func zipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(raw)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A tar that the farm has is not sent again, compressed or not.
func TestUploadAsksFirst(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	raw := hello(t)
	sent, err := f.client.Upload(t.Context(), bytes.NewReader(raw), UploadOptions{})
	if err != nil || sent.Existed || sent.Size != int64(len(raw)) {
		t.Fatalf("sent: %+v %v", sent, err)
	}
	f.requests.take()
	for name, tar := range map[string]io.Reader{"plain": bytes.NewReader(raw), "gzip": bytes.NewReader(zipped(t, raw))} {
		got, err := f.client.Upload(t.Context(), tar, UploadOptions{})
		if came := f.requests.take(); err != nil || !got.Existed || got.Ref != sent.Ref || len(came) != 1 {
			t.Errorf("%s: %+v by %q: %v", name, got, came, err)
		}
	}
	got, err := f.client.Upload(t.Context(), once{bytes.NewReader(raw)}, UploadOptions{Digest: sent.Digest})
	if err != nil || !got.Existed {
		t.Errorf("with a digest: %+v %v", got, err)
	}
	if _, err = f.client.Upload(t.Context(), once{strings.NewReader("no tar")}, UploadOptions{}); kind(err) != "context_not_tar" {
		t.Errorf("no tar: %v", err)
	}
	if _, err = f.client.Upload(t.Context(), once{bytes.NewReader(raw)}, UploadOptions{Digest: "sha256:" + strings.Repeat("0", 64)}); kind(err) != "context_digest_mismatch" {
		t.Errorf("another digest: %v", err)
	}
	if _, err = f.client.Upload(t.Context(), io.MultiReader(bytes.NewReader(raw[:5000]), failing{}), UploadOptions{}); err == nil || !strings.Contains(err.Error(), "out of paper") {
		t.Errorf("a reader that fails: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("out of paper") }

// A tar goes in pieces through connections that are cut, and arrives as it was.
func TestUploadIsCut(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rand.N(256))
	}
	raw := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY noise /\n", "noise": string(noise)})
	for name, make := range map[string]func() io.Reader{
		"plain, read once": func() io.Reader { return once{bytes.NewReader(raw)} },
		"plain":            func() io.Reader { return bytes.NewReader(raw) },
		"gzip":             func() io.Reader { return bytes.NewReader(zipped(t, raw)) },
		"gzip, read once":  func() io.Reader { return once{bytes.NewReader(zipped(t, raw))} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFarm(t, 50, 20_000, 70_000, 100, 90_000, 33_333)
			f.client.piece = 64 << 10
			got, err := f.client.Upload(t.Context(), make(), UploadOptions{})
			if err != nil || got.Size != int64(len(raw)) || f.network.Cuts() < 4 {
				t.Fatalf("%+v after %d cuts: %v", got, f.network.Cuts(), err)
			}
			in, err := f.Blobs.Read(t.Context(), got.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if stored, err := io.ReadAll(in); err != nil || !bytes.Equal(stored, raw) {
				t.Errorf("stored are %d bytes, want %d: %v", len(stored), len(raw), err)
			}
		})
	}
}

// The answer to the last piece may be lost: the context is found by its digest.
func TestUploadLosesItsAnswer(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.client.piece = 100_000
	raw := hello(t)
	f.requests.answer(f.api.ServeHTTP, f.api.ServeHTTP, f.lost)
	got, err := f.client.Upload(t.Context(), once{bytes.NewReader(raw)}, UploadOptions{})
	if came := f.requests.take(); err != nil || got.Size != int64(len(raw)) || !slices.ContainsFunc(came, func(r string) bool { return strings.HasPrefix(r, "GET /v1/contexts/sha256:") }) {
		t.Errorf("%+v by %q: %v", got, came, err)
	}
}

// A file of an output is whole also when its download is cut, and a whole output is a tar.
func TestOutput(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	content := strings.Repeat("0123456789", 30_000)
	raw := archive(t, map[string]string{"out/a b/ä.bin": content})
	blob, err := f.Blobs.Write(t.Context(), bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	job := f.submit(t)
	f.Claim(job.ID).Finish(jobs.Result{State: jobs.Succeeded, Outputs: []jobs.Output{{Path: "/srv/out", Digest: blob.Digest, Size: blob.Size}}})
	f.client.HTTP.CloseIdleConnections()
	f.network.Cut(50_000, 20, 100_000)
	read := func(open func() (io.ReadCloser, error)) string {
		t.Helper()
		r, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	got := read(func() (io.ReadCloser, error) { return f.client.Output(t.Context(), job.ID, "/srv/out/a b/ä.bin") })
	if got != content || f.network.Cuts() != 3 {
		t.Errorf("%d bytes came over %d cuts, want %d over 3", len(got), f.network.Cuts(), len(content))
	}
	if got := read(func() (io.ReadCloser, error) { return f.client.OutputTar(t.Context(), job.ID, "/srv/out") }); got != string(raw) {
		t.Errorf("the tar has %d bytes, want %d", len(got), len(raw))
	}
	if _, err := f.client.Output(t.Context(), job.ID, "/srv/out/none"); kind(err) != "not_found" {
		t.Errorf("a file that is not there: %v", err)
	}
	// What changes in the middle is no download.
	f.requests.answer(
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"one"`)
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
		},
		status(http.StatusPreconditionFailed, ""),
	)
	r, err := f.client.Output(t.Context(), job.ID, "/srv/out/x")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err == nil || string(got) != "half" {
		t.Errorf("read %q, %v; want an error", got, err)
	}
}
