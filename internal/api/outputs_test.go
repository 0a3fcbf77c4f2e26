package api

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// output makes a job that left a tar under /srv/out.
func (f *farm) output(entries ...tar.Header) jobs.Job {
	f.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := strings.Repeat("0123456789", int(h.Size/10+1))[:h.Size]
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = io.WriteString(w, content)
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.t.Fatal(err)
	}
	blob, err := f.blobs.Write(f.t.Context(), bytes.NewReader(b.Bytes()))
	if err != nil {
		f.t.Fatal(err)
	}
	job := f.submit("submitter")
	f.claim(job.ID).finish(jobs.Result{State: jobs.Succeeded, Outputs: []jobs.Output{{Path: "/srv/out", Digest: blob.Digest, Size: blob.Size, Entries: len(entries)}}})
	return job
}

// What a job left is downloaded as a file, in parts, or as a tar.
func TestOutputs(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.output(
		tar.Header{Name: "out/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "out/small", Typeflag: tar.TypeReg, Mode: 0o644, Size: 25},
		tar.Header{Name: "out/" + strings.Repeat("long/", 40) + "big", Typeflag: tar.TypeReg, Mode: 0o644, Size: 300_005},
		tar.Header{Name: "out/link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
	)
	base := "/v1/jobs/" + job.ID + "/outputs"
	get := func(path string, header http.Header) reply {
		return f.send(request{method: "GET", path: base + path, as: "reader", header: header})
	}
	if list := into[struct{ Outputs []jobs.Output }](t, get("", nil).want(t, http.StatusOK)); len(list.Outputs) != 1 || list.Outputs[0].Path != "/srv/out" {
		t.Errorf("the outputs are %+v", list)
	}
	r := get("/srv/out/small", nil).want(t, http.StatusOK)
	if string(r.body) != "0123456789012345678901234" || r.Header.Get("Content-Disposition") != "attachment; filename=small" || r.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("the file is %q with %v", r.body, r.Header)
	}
	big := "/srv/out/" + strings.Repeat("long/", 40) + "big"
	for _, tt := range []struct{ ask, want string }{
		{"bytes=0-4", "01234"}, {"bytes=299999-", "9012340"[:0] + "901234"}, {"bytes=-3", "234"}, {"bytes=150000-150003", "0123"},
	} {
		r := get(big, http.Header{"Range": {tt.ask}}).want(t, http.StatusPartialContent)
		if string(r.body) != tt.want {
			t.Errorf("%s of the file is %q, want %q", tt.ask, r.body, tt.want)
		}
	}
	get(big, http.Header{"Range": {"bytes=300005-"}}).want(t, http.StatusRequestedRangeNotSatisfiable)
	whole := get("/srv/out?tar", nil).want(t, http.StatusOK)
	if h, err := tar.NewReader(bytes.NewReader(whole.body)).Next(); err != nil || h.Name != "out/" || whole.Header.Get("Content-Type") != "application/x-tar" {
		t.Errorf("the tar begins with %+v (%v)", h, err)
	}
	part := get("/srv/out?tar", http.Header{"Range": {fmt.Sprintf("bytes=%d-", len(whole.body)-1024)}}).want(t, http.StatusPartialContent)
	if !bytes.Equal(part.body, whole.body[len(whole.body)-1024:]) {
		t.Error("the end of the tar is another one")
	}
	get("/srv/out/small", http.Header{"If-None-Match": {r.Header.Get("ETag")}}).want(t, http.StatusNotModified)
	f.send(request{method: "HEAD", path: base + "/srv/out/small", as: "reader"}).want(t, http.StatusOK)
	for _, path := range []string{"/srv/out/none", "/srv/out", "/srv/out/link", "/srv/outs", "/etc/passwd", "/srv/out/..%2f..%2fetc%2fpasswd", "/srv%2Fout%2F..%2F..%2Fx"} {
		get(path, nil).want(t, http.StatusNotFound).problem(t, "not_found")
	}
	get("/srv/out/small?tar", nil).want(t, http.StatusBadRequest).problem(t, "parameter_invalid")
	waits := f.submit("submitter")
	f.send(request{method: "GET", path: "/v1/jobs/" + waits.ID + "/outputs", as: "reader"}).want(t, http.StatusConflict).problem(t, "job_not_finished")
	done, err := f.db.Get(t.Context(), job.ID)
	if err == nil {
		err = f.blobs.Delete(t.Context(), done.Result.Outputs[0].Digest)
	}
	if err != nil {
		t.Fatal(err)
	}
	get("/srv/out/small", nil).want(t, http.StatusGone).problem(t, "content_not_found")
}
