package api

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api/apitest"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/records"
)

// farm is a farm without workers on an embedded Redis, served on loopback: tests are the
// workers.
type farm struct {
	t      *testing.T
	base   *apitest.Farm
	db     *records.DB
	redis  *miniredis.Miniredis
	blobs  *artifacts.Blobs
	server *Server
	http   *httptest.Server
	// tokens by who has them.
	tokens map[string]string
	// storeDir is where the artifact store is.
	storeDir string
}

// who has which scopes: nothing is allowed beyond them.
func principals() map[string]access.Token {
	return map[string]access.Token{
		"submitter": {Scopes: []access.Scope{access.Submit}},
		"reader":    {Scopes: []access.Scope{access.Read}},
		"operator":  {Scopes: []access.Scope{access.Operate}},
		"admin":     {Scopes: []access.Scope{access.Admin}},
		"blue":      {Scopes: []access.Scope{access.Submit, access.Read}, Tenant: "blue"},
		"green":     {Scopes: []access.Scope{access.Submit, access.Read}, Tenant: "green"},
		"old":       {Scopes: []access.Scope{access.Admin}, Expires: time.Unix(1, 0)},
	}
}

func principalOf(name string) access.Principal { return principals()[name].Principal() }

func newFarm(t *testing.T, change func(*Options)) *farm {
	t.Helper()
	base := apitest.NewFarm(t)
	f := &farm{t: t, base: base, db: base.DB, redis: base.Redis, blobs: base.Blobs, tokens: map[string]string{}, storeDir: base.StoreDir}
	o := Options{
		Farm: Farm{
			Jobs:  base.Jobs,
			Hosts: f.db, Orders: f.db, Recipes: f.db, Rebuilds: f.db, Bases: f.db, Changes: f.db, Webhooks: f.db, Calls: f.db, Blobs: f.blobs, Tokens: f.db, Trail: f.db,
		},
		Document: fewFlags, Parameters: []string{"tag", "run", "name", "image"}, UploadDir: filepath.Join(t.TempDir(), "uploads"), Version: "test",
		Rate: 10_000, Burst: 10_000,
	}
	if change != nil {
		change(&o)
	}
	f.server = New(o)
	t.Cleanup(f.server.Close)
	f.http = httptest.NewServer(f.server)
	t.Cleanup(f.http.Close)
	for name, tok := range principals() {
		tok.Name = name
		f.tokens[name] = base.Token(tok)
	}
	return f
}

// fewFlags stands for the flags of the command line, which are tested there.
func fewFlags(s jobs.Spec, params url.Values) (jobs.Spec, error) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		switch name {
		case "tag":
			if s.Build == nil {
				s.Build = &jobs.Build{}
			}
			s.Build.Tags = params[name]
		case "run":
			for _, v := range params[name] {
				if v != "" && v != "true" {
					return s, &ParameterError{Name: name, Message: "want true"}
				}
			}
			s.Run = &jobs.Run{}
		case "image":
			s.Run = &jobs.Run{Image: params.Get(name)}
		case "name":
			s.Name = params.Get(name)
		}
	}
	return s, nil
}

// contract is openapi.yaml.
var contract = sync.OnceValues(func() (*openapi3.T, error) {
	for _, media := range []string{"text/event-stream", "application/jsonl", "application/yaml", "application/x-tar", "multipart/byteranges"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
	openapi3filter.RegisterBodyDecoder("application/schema+json", openapi3filter.JSONBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err == nil {
		err = doc.Validate(context.Background())
	}
	return doc, err
})

// request is one to the farm.
type request struct {
	method, path, as string
	header           http.Header
	body             io.Reader
}

// reply is an answer with its body.
type reply struct {
	*http.Response
	body []byte
}

// send sends a request as one of the principals, "" for none, and holds the answer to the
// contract.
func (f *farm) send(r request) reply {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), r.method, f.http.URL+r.path, r.body)
	if err != nil {
		f.t.Fatal(err)
	}
	maps.Copy(req.Header, r.header)
	if r.as != "" {
		req.Header.Set("Authorization", "Bearer "+f.tokens[r.as])
	}
	resp, err := f.http.Client().Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	if err := f.server.keepsContract(f.t.Context(), req, resp, body); err != nil {
		f.t.Errorf("%s %s as %q: %d %s\n%v", r.method, r.path, r.as, resp.StatusCode, body, err)
	}
	return reply{resp, body}
}

// keepsContract holds a request that was taken, and its answer, to openapi.yaml.
func (s *Server) keepsContract(ctx context.Context, req *http.Request, resp *http.Response, body []byte) error {
	doc, err := contract()
	if err != nil {
		return err
	}
	_, pattern := s.mux.Handler(req)
	method, path, _ := strings.Cut(pattern, " ")
	if path == "" { // no route
		return nil
	}
	path = strings.ReplaceAll(path, "...}", "}")
	item := doc.Paths.Find(path)
	if item == nil || item.GetOperation(method) == nil {
		return &ParameterError{Name: pattern, Message: "openapi.yaml does not have it"}
	}
	params := req.URL.Query()
	maps.DeleteFunc(params, func(_ string, values []string) bool { return len(values) == 1 && values[0] == "" }) // as one that is absent
	input := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: pathParams(path, req.URL.Path), QueryParams: params,
		Route:   &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeRequestBody: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true},
	}
	req.Body = http.NoBody
	if resp.StatusCode < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(ctx, input); err != nil {
			return err
		}
	}
	if req.Method == http.MethodHead || len(body) == 0 {
		input.Options.ExcludeResponseBody = true
	}
	return openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(body)), Options: input.Options,
	})
}

// pathParams are the parts of a path that a template leaves open.
func pathParams(template, path string) map[string]string {
	params := map[string]string{}
	parts := strings.Split(path, "/")
	for i, part := range strings.Split(template, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok && i < len(parts) {
			params[strings.TrimSuffix(name, "}")] = strings.Join(parts[i:], "/")
			if i < len(strings.Split(template, "/"))-1 {
				params[strings.TrimSuffix(name, "}")] = parts[i]
			}
		}
	}
	return params
}

// want fails the test unless the answer has this status.
func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, status, r.body)
	}
	return r
}

// problem fails the test unless the answer is a problem of this kind, and returns it.
func (r reply) problem(t *testing.T, kind string) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(r.body, &p); err != nil || p.Type != problemPath+kind || p.Status != r.StatusCode {
		t.Fatalf("%s %s: %d %s (%v); want the problem %s", r.Request.Method, r.Request.URL.Path, r.StatusCode, r.body, err, kind)
	}
	return p
}

// into reads the answer.
func into[T any](t *testing.T, r reply) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("%s %s: %s: %v", r.Request.Method, r.Request.URL.Path, r.body, err)
	}
	return v
}

// archive is a tar of files.
func archive(t testing.TB, files map[string]string) *bytes.Buffer {
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
	return &b
}

func hello(t testing.TB) *bytes.Buffer {
	return archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY hello /\n", "hello": "hello\n"})
}

// submit makes a job that runs an image.
func (f *farm) submit(as string) jobs.Job {
	f.t.Helper()
	return into[jobs.Job](f.t, f.send(request{method: "POST", path: "/v1/jobs?image=a", as: as}).want(f.t, http.StatusAccepted))
}

// worker is the owner of a running job.
type worker struct {
	*farm
	*apitest.Worker
	job jobs.Job
}

const nonce = apitest.Nonce

// claim makes the test the worker of a job.
func (f *farm) claim(id string) *worker {
	f.t.Helper()
	w := f.base.Claim(id)
	return &worker{f, w, w.Job}
}

// write appends a frame to the live log.
func (w *worker) write(s jobs.Stream, text string) {
	w.t.Helper()
	w.Write(s, text)
}

// finish stores the log and ends the job.
func (w *worker) finish(r jobs.Result) {
	w.t.Helper()
	w.Finish(r)
}

// rewrite puts another result into the record of a job.
func (f *farm) rewrite(job jobs.Job) {
	f.t.Helper()
	raw, err := json.Marshal(job.Result)
	if err == nil {
		err = f.redis.Set("slipway:{"+job.ID+"}:result", string(raw))
	}
	if err != nil {
		f.t.Fatal(err)
	}
}
