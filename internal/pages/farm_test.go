package pages

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/dirstore"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/queue"
	"github.com/slipway-farm/slipway/internal/records"
)

// farm is a farm without workers on an embedded Redis, with its API and its pages on
// loopback: tests are the workers.
type farm struct {
	t      testing.TB
	db     *records.DB
	svc    *jobs.Service
	blobs  *artifacts.Blobs
	pages  *Pages
	http   *httptest.Server
	tokens map[string]string
	ids    map[string]string
}

func principals() map[string]access.Token {
	return map[string]access.Token{
		"submitter": {Scopes: []access.Scope{access.Submit}},
		"reader":    {Scopes: []access.Scope{access.Read}},
		"builder":   {Scopes: []access.Scope{access.Read, access.Submit}},
		"operator":  {Scopes: []access.Scope{access.Read, access.Operate}},
		"admin":     {Scopes: []access.Scope{access.Admin}},
		"blue":      {Scopes: []access.Scope{access.Submit, access.Read}, Tenant: "blue"},
		"green":     {Scopes: []access.Scope{access.Submit, access.Read}, Tenant: "green"},
		"old":       {Scopes: []access.Scope{access.Admin}, Expires: time.Unix(1, 0)},
	}
}

// newFarm makes a farm; wrap may put something between browsers and pages.
func newFarm(t testing.TB, open bool, wrap func(http.Handler) http.Handler) *farm {
	t.Helper()
	mr := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: mr.Addr(), PoolSize: 300})
	t.Cleanup(func() { _ = rdb.Close() })
	store, err := dirstore.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &farm{t: t, db: records.New(rdb, records.Options{}), blobs: artifacts.NewBlobs(store, t.TempDir()), tokens: map[string]string{}, ids: map[string]string{}}
	f.svc = jobs.NewService(f.db, queue.New(rdb), func() string { return uuid.Must(uuid.NewV7()).String() })
	server := api.New(api.Options{
		Farm: api.Farm{
			Jobs: f.svc, Hosts: f.db, Orders: f.db, Recipes: f.db, Rebuilds: f.db, Bases: f.db, Blobs: f.blobs, Tokens: f.db, Trail: f.db,
		},
		Open: open, Anyone: access.Principal{Name: "me", Scopes: access.Scopes()},
		UploadDir: t.TempDir(), Version: "test", Rate: 10_000, Burst: 10_000,
	})
	t.Cleanup(server.Close)
	if f.pages, err = New(Options{API: server, Open: open, Jobs: f.svc, Hosts: f.db}); err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = f.pages
	if wrap != nil {
		handler = wrap(handler)
	}
	f.http = httptest.NewServer(handler)
	t.Cleanup(f.http.Close)
	t.Cleanup(server.Close)
	for name, tok := range principals() {
		tok.Name = name
		tok, text, err := access.NewToken(tok)
		if err == nil {
			err = f.db.AddToken(t.Context(), tok)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.tokens[name], f.ids[name] = text, tok.ID
	}
	return f
}

// browser is a plain client with cookies, and without scripts.
type browser struct {
	*farm
	client *http.Client
}

// answer is a page as it came.
type answer struct {
	*http.Response
	body string
}

// visit makes a browser, signed in as one of the principals unless as is "".
func (f *farm) visit(as string) *browser {
	f.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	b := &browser{f, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if as != "" {
		if a := b.post("/login", url.Values{"token": {f.tokens[as]}}); a.StatusCode != http.StatusSeeOther {
			f.t.Fatalf("sign in as %s: %d %s", as, a.StatusCode, a.body)
		}
	}
	return b
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.send(http.MethodGet, path, nil, nil)
}

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	return b.send(http.MethodPost, path, form, http.Header{"Sec-Fetch-Site": {"same-origin"}})
}

func (b *browser) send(method, path string, form url.Values, header http.Header) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.http.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp, string(body)}
}

// main is what is of this page alone.
func (a answer) main() string {
	_, main, _ := strings.Cut(a.body, "<main")
	main, _, _ = strings.Cut(main, "</main>")
	if _, list, ok := strings.Cut(main, "</search>"); ok {
		return list
	}
	return main
}

// want fails the test unless the page has this status, and all of these texts.
func (a answer) want(t testing.TB, status int, texts ...string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.main())
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s %s: no %q in %s", a.Request.Method, a.Request.URL, text, a.main())
		}
	}
	return a
}

// lacks fails the test when the page has one of these texts.
func (a answer) lacks(t testing.TB, texts ...string) answer {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			t.Errorf("%s %s: it has %q: %s", a.Request.Method, a.Request.URL, text, a.main())
		}
	}
	return a
}

// submit makes a job.
func (f *farm) submit(spec jobs.Spec) jobs.Job {
	f.t.Helper()
	if spec.Run == nil && spec.Build == nil {
		spec.Run = &jobs.Run{Image: "alpine:3"}
	}
	sub, err := f.svc.By("ann").Submit(f.t.Context(), spec)
	if err != nil {
		f.t.Fatal(err)
	}
	job, err := f.svc.Get(f.t.Context(), sub.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	return job
}

// worker is the owner of a running job.
type worker struct {
	*farm
	job    jobs.Job
	offset int64
	log    []byte
}

const nonce = "0123456789abcdef"

// claim makes the test the worker of a job.
func (f *farm) claim(id string) *worker {
	f.t.Helper()
	job, err := f.db.Claim(f.t.Context(), jobs.Ticket{ID: id}, jobs.Owner{Worker: "red", Host: "h1", Nonce: nonce, Lease: time.Hour})
	if err != nil {
		f.t.Fatal(err)
	}
	return &worker{farm: f, job: job}
}

func (w *worker) stage(s jobs.Stage) {
	w.t.Helper()
	if err := w.db.Note(w.t.Context(), w.job.ID, nonce, jobs.Progress{Stage: s}); err != nil {
		w.t.Error(err)
	}
}

// write appends a frame to the live log.
func (w *worker) write(s jobs.Stream, text string) {
	w.t.Helper()
	raw := jobs.AppendFrame(nil, jobs.Frame{Stream: s, At: time.UnixMilli(1_700_000_000_000), Data: []byte(text)})
	if err := w.db.AppendLog(w.t.Context(), w.job.ID, nonce, jobs.LogChunk{Attempt: w.job.Attempt, Offset: w.offset, Data: raw}); err != nil {
		w.t.Error(err)
	}
	w.offset += int64(len(raw))
	w.log = append(w.log, raw...)
}

// build appends a message of BuildKit.
func (w *worker) build(message any) {
	w.t.Helper()
	raw, err := json.Marshal(message)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(jobs.BuildStatus, string(raw))
}

// finish stores the log and ends the job.
func (w *worker) finish(r jobs.Result) {
	w.t.Helper()
	blob, err := w.blobs.Write(w.t.Context(), bytes.NewReader(w.log))
	if err == nil {
		r.Attempt, r.Worker, r.Host, r.Log = w.job.Attempt, "red", "h1", jobs.LogInfo{Digest: blob.Digest, Size: blob.Size}
		err = w.db.Finish(w.t.Context(), w.job.ID, nonce, r)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// fail ends the job with a failure.
func (w *worker) fail(kind jobs.Kind, stage jobs.Stage, message string) {
	w.t.Helper()
	w.finish(jobs.Result{State: kind.Info().State, Failure: &jobs.Failure{Stage: stage, Kind: kind, Message: message, Hint: "look at the log", Cause: "the engine said so"}})
}

// host registers a build host.
func (f *farm) host(h jobs.Host) {
	f.t.Helper()
	if h.Queues == nil {
		h.Queues = []string{jobs.DefaultQueue}
	}
	h.Platform, h.CPUs, h.Memory, h.Engine, h.Version, h.Every = "linux/amd64", 8, 16<<30, "docker 28.5.2", "v1", jobs.Duration(time.Hour)
	if err := f.db.Beat(f.t.Context(), h); err != nil {
		f.t.Fatal(err)
	}
}
