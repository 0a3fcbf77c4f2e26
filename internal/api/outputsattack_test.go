package api

import (
	"archive/tar"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Many ranges of an output are answered with all of it, once: each would be looked for from the
// beginning.
func TestManyRangesAreOneAnswer(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.output(tar.Header{Name: "out/big", Typeflag: tar.TypeReg, Mode: 0o644, Size: 100_000})
	path := "/v1/jobs/" + job.ID + "/outputs/srv/out/big"
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, ",%d-%d", 2*i, 2*i)
	}
	for _, header := range []http.Header{
		{"Range": {"bytes=" + many.String()[1:]}},
		{"Range": {"bytes=0-1", "bytes=3-4"}},
	} {
		r := f.send(request{method: "GET", path: path, as: "reader", header: header}).want(t, http.StatusOK)
		if len(r.body) != 100_000 || strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
			t.Errorf("answered with %d bytes as %s", len(r.body), r.Header.Get("Content-Type"))
		}
	}
}

// What is wrong with a download is a problem as everywhere.
func TestDownloadsFail(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.output(tar.Header{Name: "out/a", Typeflag: tar.TypeReg, Mode: 0o644, Size: 10})
	path := "/v1/jobs/" + job.ID + "/outputs/srv/out"
	get := func(path string, header http.Header) reply {
		return f.send(request{method: "GET", path: path, as: "reader", header: header})
	}
	r := get(path+"/a", http.Header{"Range": {"bytes=100-"}}).want(t, http.StatusRequestedRangeNotSatisfiable)
	r.problem(t, "range_not_satisfiable")
	if r.Header.Get("Content-Range") != "bytes */10" || r.Header.Get("Content-Disposition") != "" {
		t.Errorf("the headers are %v", r.Header)
	}
	get(path+"/a", http.Header{"Range": {"bytes=x"}}).want(t, http.StatusRequestedRangeNotSatisfiable).problem(t, "range_not_satisfiable")
	get(path+"/a", http.Header{"If-Match": {`"other"`}}).want(t, http.StatusPreconditionFailed).problem(t, "precondition_failed")
	job, err := f.db.Get(t.Context(), job.ID)
	if err == nil {
		err = f.blobs.Delete(t.Context(), job.Result.Outputs[0].Digest)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path + "/a", path + "?tar=true"} {
		p := get(path, nil).want(t, http.StatusGone).problem(t, "content_not_found")
		if strings.Contains(fmt.Sprint(p), f.storeDir) || p.Detail != "" {
			t.Errorf("the problem tells where the store is: %+v", p)
		}
		f.send(request{method: "HEAD", path: path, as: "reader"}).want(t, http.StatusGone)
	}
}

// No path leads out of the outputs of a job, and none to another file than the one it names.
func TestOutputPaths(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	job := f.output(
		tar.Header{Name: "out/a", Typeflag: tar.TypeReg, Mode: 0o644, Size: 10},
		tar.Header{Name: "out/link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		tar.Header{Name: "out/hard", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"},
		tar.Header{Name: "../../etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644, Size: 10},
		tar.Header{Name: "/etc/shadow", Typeflag: tar.TypeReg, Mode: 0o644, Size: 10},
	)
	for _, path := range []string{
		"etc/passwd", "/etc/passwd", "srv/out/../../etc/passwd", "srv/out/%2e%2e/%2e%2e/etc/passwd", "srv/out/..%2f..%2fetc%2fpasswd",
		"srv%2fout%2f..%2f..%2fetc%2fpasswd", "srv/out/..\\..\\etc\\passwd", "srv/out/%00", "srv/out/a%00.txt", "srv/out/./a", "srv/out//a",
		"srv/out/link", "srv/out/hard", "srv/out/etc/shadow", "srv/outa", "srv", "%2e%2e", "srv/out/" + strings.Repeat("x/", 3000), "srv/out/%ff%fe",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.http.URL+"/v1/jobs/"+job.ID+"/outputs/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+f.tokens["reader"])
		resp, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != problemMedia {
			t.Errorf("%.60s: %d %s", path, resp.StatusCode, resp.Header)
		}
	}
}

// No path on any route that names a thing leads to a file of the server's.
func TestPathsToFiles(t *testing.T) {
	t.Parallel()
	f := newFarm(t, nil)
	for _, base := range []string{"/v1/uploads/", "/v1/contexts/", "/problems/", "/v1/jobs/", "/v1/recipes/", "/v1/rebuilds/", "/v1/hosts/", "/v1/tokens/"} {
		method := "GET"
		if base == "/v1/tokens/" {
			method = "DELETE"
		}
		for _, name := range []string{
			"..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", ".", "%00", "a%00b", "%ff", "..%5c..%5cetc", strings.Repeat("a", 5000), "%0d%0aX-Evil:%201", "*", "%e2%80%ae",
		} {
			req, err := http.NewRequestWithContext(t.Context(), method, f.http.URL+base+name, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+f.tokens["admin"])
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != problemMedia || resp.Header.Get("X-Evil") != "" {
				t.Errorf("%s%.40s: %d %s", base, name, resp.StatusCode, resp.Header)
			}
		}
	}
}
