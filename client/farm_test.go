package client

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/api/apitest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// farm is a farm whose jobs the test runs, served behind a network that breaks.
type farm struct {
	*apitest.Farm
	api     http.Handler
	server  *httptest.Server
	network *apitest.Network
	client  *Client
	// requests are those that came to the server.
	requests *requests
}

// newFarm serves a farm; the first connections are cut after so many bytes each.
func newFarm(t *testing.T, cuts ...int64) *farm {
	t.Helper()
	f := &farm{Farm: apitest.NewFarm(t), requests: &requests{}}
	s := api.New(api.Options{
		Farm: api.Farm{
			Jobs: f.Jobs, Hosts: f.DB, Orders: f.DB, Recipes: f.DB, Rebuilds: f.DB, Bases: f.DB, Changes: f.DB, Blobs: f.Blobs, Tokens: f.DB, Trail: f.DB,
		},
		Document: oneFlag, Parameters: []string{"tag"}, UploadDir: t.TempDir(), Rate: 10_000, Burst: 10_000,
	})
	t.Cleanup(s.Close)
	f.api = s
	f.server = httptest.NewServer(f.requests.before(s))
	t.Cleanup(f.server.Close)
	f.network = apitest.NewNetwork(t, strings.TrimPrefix(f.server.URL, "http://"), cuts...)
	f.client = newClient("http://"+f.network.Addr, f.Token(access.Token{Name: "ci", Scopes: []access.Scope{access.Submit, access.Read}}))
	t.Cleanup(f.client.HTTP.CloseIdleConnections)
	return f
}

// newClient makes a client that does not wait for long.
func newClient(server, token string) *Client {
	c := New(server, token)
	c.HTTP.Transport = http.DefaultTransport.(*http.Transport).Clone()
	c.first, c.Patience = 5*time.Millisecond, 20*time.Second
	return c
}

// oneFlag stands for the flags of the command line.
func oneFlag(s jobs.Spec, params url.Values) (jobs.Spec, error) {
	if params.Has("tag") {
		s.Build.Tags = append(s.Build.Tags, params["tag"]...)
	}
	return s, nil
}

// archive is a tar of files, and hello one that can be built.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hello(t *testing.T) []byte {
	return archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY hello /\n", "hello": strings.Repeat("hello\n", 20_000)})
}

// image is a document of a job that runs an image.
func image() Document { return Document{Run: &Run{Image: "busybox"}} }

// submit submits a job that runs an image.
func (f *farm) submit(t *testing.T) Job {
	t.Helper()
	job, err := f.client.Submit(t.Context(), image())
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// all are the jobs of the farm.
func (f *farm) all(t *testing.T) []jobs.Job {
	t.Helper()
	page, err := f.Jobs.List(t.Context(), jobs.Query{Limit: 200})
	if err != nil {
		t.Fatal(err)
	}
	return page.Jobs
}
