//go:build integration

package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

type fault = contextstest.Fault

// transfer is a context on its way through a server that misbehaves, and what
// must become of its job.
type transfer struct {
	name   string
	faults []fault
	// kind of the end, "" for a build.
	kind jobs.Kind
	says string
	// warns is a part of the job's log.
	warns string
	// asked is how often the server is, 0 for any number.
	asked int
	// within bounds the attempt's fetch, 0 for the worker's default.
	within time.Duration
	// lasts is how long the transfer takes at least.
	lasts time.Duration
	// announced contexts have a digest.
	announced bool
}

// wrong is how often content is damaged: at another place each time, or at the
// same one.
func wrong(places ...int) []fault {
	faults := make([]fault, len(places))
	for i, at := range places {
		faults[i] = fault{Flip: at}
	}
	return faults
}

// transferSlots is how many contexts are fetched at once.
const transferSlots = 8

// contextSize is the size of a context in bytes, whole blocks of tar.
const contextSize = 390 * 512

// transfers are what an HTTP server and an S3 server can do to a context.
func transfers() []transfer {
	const infra, most = jobs.KindContextFetch, contextSize * 99 / 100
	later := map[string]string{"Retry-After": "1"}
	return []transfer{
		{name: "no fault", asked: 1},
		{name: "500, then good", faults: []fault{{Status: 500}, {}}, asked: 2},
		{name: "500 for ever", faults: []fault{{Status: 500}}, kind: infra, says: "500"},
		{name: "429 with Retry-After", faults: []fault{{Status: 429, Header: later}, {}}, asked: 2, lasts: time.Second},
		{name: "429 for ever", faults: []fault{{Status: 429}}, kind: infra, says: "429"},
		{name: "slow", faults: []fault{{Slow: 10 * time.Millisecond}}, kind: jobs.KindFetchTimeout, says: "1s", within: time.Second},
		{name: "stalled, then resumed", faults: []fault{{Cut: contextSize / 2, Stall: true}, {}}, asked: 2, lasts: time.Second},
		{name: "stalled for ever", faults: []fault{{Cut: 1, Stall: true, NoRange: true}}, kind: infra, says: "nothing came for 1s"},
		{name: "truncated at 99 %, then resumed", faults: []fault{{Cut: most}, {}}, asked: 2},
		{name: "truncated, and gone", faults: []fault{{Cut: most}, {Status: 502}}, kind: infra, says: "502"},
		{name: "wrong bytes once", faults: append(wrong(1000), fault{}), announced: true, warns: "the transfer was repeated", asked: 2},
		{name: "other wrong bytes each time", faults: wrong(1000, 2000, 3000, 4000, 5000, 6000), announced: true, kind: infra, says: "brought different bytes"},
		{name: "the same wrong bytes each time", faults: wrong(1000), announced: true, kind: jobs.KindContextDigest, says: "want sha256:"},
		{name: "404", faults: []fault{{Status: 404}}, kind: jobs.KindContextNotFound, asked: 1},
		{name: "403", faults: []fault{{Status: 403}}, kind: jobs.KindContextDenied, asked: 1},
	}
}

// run submits the context and looks at what becomes of its job.
func (tt transfer) run(t *testing.T, w *watchedFarm, c jobs.Context, digest string, asked func() int) {
	t.Helper()
	spec := jobs.Spec{Context: &c, Build: &jobs.Build{NoCache: true}, Timeouts: jobs.Timeouts{Fetch: jobs.Duration(tt.within)}}
	if tt.announced {
		spec.Context.Digest = digest
	}
	job, a := w.document(t, spec)
	if job.Result == nil {
		t.Fatalf("the job is %s, exit code %d\n%s", job.State, a.code, a.stderr)
	}
	var fetch time.Duration
	for _, s := range job.Result.Times {
		if s.Stage == jobs.StageFetch {
			fetch = time.Duration(s.Millis) * time.Millisecond
		}
	}
	if n := asked(); tt.asked > 0 && n != tt.asked || fetch < tt.lasts {
		t.Errorf("the server was asked %d times, want %d; it took %s, want %s", n, tt.asked, fetch, tt.lasts)
	}
	if tt.kind == "" {
		tt.succeeded(t, w, job)
		return
	}
	fl := job.Result.Failure
	if fl == nil {
		t.Fatalf("the job %s, want %s", job.State, tt.kind)
	}
	// The infrastructure's faults are tried again, and never on the job's own
	// account; three in a row are enough. The user's are final.
	kind, attempts, exit, hint := tt.kind, 1, jobs.ExitUsage, ""
	if tt.kind.Info().Fault == jobs.InfraFault {
		kind, attempts, exit, hint = jobs.KindPoisoned, jobs.MaxLosses, jobs.ExitInfra, string(tt.kind)
	}
	if fl.Kind != kind || !strings.Contains(fl.Message, tt.says) || fl.Hint == "" || !strings.Contains(fl.Hint, hint) {
		t.Errorf("%s: %s (hint: %s)\nwant %s: ...%s...", fl.Kind, fl.Message, fl.Hint, tt.kind, tt.says)
	}
	if job.Attempt != attempts || job.Retries != 0 || a.code != exit {
		t.Errorf("attempt %d, %d retries spent, exit code %d; want %d, 0, %d", job.Attempt, job.Retries, a.code, attempts, exit)
	}
	presentable(t, *fl)
}

func (tt transfer) succeeded(t *testing.T, w *watchedFarm, job jobs.Job) {
	t.Helper()
	if job.State != jobs.Succeeded || job.Attempt != 1 {
		t.Errorf("%s in attempt %d: %v", job.State, job.Attempt, job.Result.Failure)
	}
	if logged := w.in(t).enqueue("logs", job.ID); !strings.Contains(logged.stdout+logged.stderr, tt.warns) {
		t.Errorf("the log does not say %q:\n%s%s", tt.warns, logged.stdout, logged.stderr)
	}
}

// runAll runs transfers at once. open makes a reference whose transfer has these
// faults, and tells how often its server was asked. All that the daemon is ever
// given is the context, once for each job that succeeds.
func runAll(t *testing.T, w *watchedFarm, all []transfer, open func(t *testing.T, faults []fault) (ref string, asked func() int)) {
	content, digest := faultyContext(t)
	ref, _ := open(t, nil)
	before := w.traces(t)
	job, a := w.document(t, jobs.Spec{Context: &jobs.Context{Ref: ref, Digest: digest, Size: int64(len(content))}, Build: &jobs.Build{NoCache: true}})
	if job.State != jobs.Succeeded {
		t.Fatalf("without a fault the job is %s\n%s", job.State, a.stderr)
	}
	want := w.spy.Builds()
	faults := newSubtests(t, transferSlots)
	for _, tt := range all {
		if tt.kind == "" {
			want = append(want, want[0])
		}
		faults.run(tt.name, func(t *testing.T) {
			ref, asked := open(t, tt.faults)
			tt.run(t, w, jobs.Context{Ref: ref}, digest, asked)
		})
	}
	faults.wait()
	if got := w.spy.Builds(); !slices.Equal(got, want) {
		t.Errorf("the daemon was given %v, want %v", got, want)
	}
	// The store has the logs of the jobs, and nothing else may have anything.
	stored := func(name string) bool { return strings.HasPrefix(name, filepath.Join(w.dir, "store")) }
	was, now := slices.DeleteFunc(before.files, stored), slices.DeleteFunc(w.traces(t).files, stored)
	if !slices.Equal(was, now) {
		t.Errorf("files: were %q\nare now %q", was, now)
	}
}

// faultyContext is a context, packed, with its digest.
func faultyContext(t *testing.T) (packed []byte, digest string) {
	t.Helper()
	const dockerfile = "FROM scratch\nCOPY data /\n"
	noise := make([]byte, contextSize-6*512) // four blocks of headers and Dockerfile, two at the end
	for i := range noise {
		noise[i] = byte(i * i / 7 >> 3)
	}
	// The hard link has it go to the daemon as an archive, which the spy sees.
	packed = contextstest.Tar(t, contextstest.File("Dockerfile", dockerfile), contextstest.File("data", string(noise)), contextstest.Hardlink("link", "data"))
	if len(packed) != contextSize {
		t.Fatalf("the context has %d bytes, want %d", len(packed), contextSize)
	}
	return packed, artifactstest.Digest(packed)
}

// TestTransfersFromHTTP fetches contexts from a server that misbehaves.
func TestTransfersFromHTTP(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	w := newWatchedFarm(t, hostA, func(string) string {
		return "context: {schemes: [http], stall_timeout: 1s, http: {networks: [127.0.0.2/32]}}\n"
	}, "--slots", strconv.Itoa(transferSlots))
	const most = contextSize * 99 / 100
	content, _ := faultyContext(t)
	forbidden := serve(t, hostA, "127.0.0.3:0", func(http.ResponseWriter, *http.Request) { t.Error("a request to a forbidden address") })
	all := append(transfers(), []transfer{
		{name: "truncated at 99 % without a length, once", faults: []fault{{Cut: most, Silent: true}, {}}, warns: "the transfer was repeated", asked: 2},
		{name: "truncated at 99 % without a length, always", faults: []fault{{Cut: most, Silent: true}}, kind: jobs.KindContextTruncated, says: "truncated at byte"},
		{name: "more announced than there is", faults: []fault{{Length: contextSize + 1000}}, kind: jobs.KindContextFetch, says: fmt.Sprintf("after %d of %d bytes", contextSize, contextSize+1000)},
		{name: "less announced than there is, always", faults: []fault{{Length: contextSize / 2}}, kind: jobs.KindContextTruncated, says: "truncated at byte"},
		{name: "less announced than there is, once", faults: []fault{{Length: contextSize / 2}, {}}, warns: "the transfer was repeated", asked: 2},
		{name: "redirect to a forbidden address", faults: []fault{{Status: 302, Header: map[string]string{"Location": forbidden}}}, kind: jobs.KindForbiddenAddress, asked: 1},
	}...)
	runAll(t, w, all, func(t *testing.T, faults []fault) (string, func() int) {
		server := &contextstest.FaultServer{Content: content, Faults: faults}
		return serve(t, hostA, "127.0.0.2:0", server.ServeHTTP) + "/context.tar", func() int { return len(server.Requests()) }
	})
}

// TestTransfersFromS3 does the same with a real S3 server behind a proxy that
// misbehaves.
func TestTransfersFromS3(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	s3 := hosttest.StartS3(t, hostA)
	proxy := &s3Proxy{host: hostA, upstream: s3.Endpoint, objects: map[string]*s3Object{}}
	endpoint := serve(t, hostA, "127.0.0.2:0", proxy.ServeHTTP)
	keys := t.TempDir()
	for name, content := range map[string]string{"access": s3.AccessKey, "secret": s3.SecretKey} {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := newWatchedFarm(t, hostA, func(string) string {
		return fmt.Sprintf("context: {schemes: [s3], stall_timeout: 1s, s3: [{buckets: [%s], endpoint: %q, region: us-east-1, access_key_file: %s/access, secret_key_file: %s/secret}]}\n",
			s3.Bucket, endpoint, keys, keys)
	}, "--slots", strconv.Itoa(transferSlots))
	content, _ := faultyContext(t)
	runAll(t, w, transfers(), func(t *testing.T, faults []fault) (string, func() int) {
		object := proxy.object(s3.Bucket, faults)
		if err := os.WriteFile(filepath.Join(s3.Dir, "data", object.path), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return "s3:/" + object.path, object.count
	})
}

// s3Proxy hands requests to an S3 server, and damages its answers.
type s3Proxy struct {
	host     *hosttest.Host // where upstream is
	upstream string

	mu      sync.Mutex
	objects map[string]*s3Object // by path
}

// s3Object is an object that is had with one fault after the other.
type s3Object struct {
	path   string
	faults []fault

	mu    sync.Mutex
	asked int
}

func (p *s3Proxy) object(bucket string, faults []fault) *s3Object {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &s3Object{path: fmt.Sprintf("/%s/context-%d.tar", bucket, len(p.objects)), faults: faults}
	p.objects[o.path] = o
	return o
}

func (o *s3Object) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.asked
}

// next is the fault of a request.
func (o *s3Object) next() (f fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.faults) > 0 {
		f = o.faults[min(o.asked, len(o.faults)-1)]
	}
	o.asked++
	return f
}

func (p *s3Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	o := p.objects[r.URL.Path]
	p.mu.Unlock()
	if o == nil {
		http.NotFound(w, r)
		return
	}
	f := o.next()
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	if f.Status != 0 {
		w.WriteHeader(f.Status)
		return
	}
	to, err := url.Parse(p.upstream)
	if err != nil {
		panic(err) // the rig's own
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // the signature is about it
		},
		Transport:     &http.Transport{DialContext: p.host.Dial, DisableKeepAlives: true},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // the faults are ours
		ModifyResponse: func(resp *http.Response) error {
			from := 0
			if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil && resp.StatusCode == http.StatusPartialContent {
				return err
			}
			body := &faulty{ReadCloser: resp.Body, fault: f, at: from, end: from + f.Cut, gone: r.Context().Done()}
			if f.NoRange { // it never gets any further
				body.end = f.Cut
			}
			resp.Body = body
			return nil
		},
	}
	proxy.ServeHTTP(w, r)
}

// faulty is the body of an answer with a fault. at is where it is, and end where
// it is cut, from the start of the object.
type faulty struct {
	io.ReadCloser
	fault   fault
	at, end int
	gone    <-chan struct{}
}

func (b *faulty) Read(p []byte) (int, error) {
	if b.fault.Slow > 0 {
		p = p[:1]
		time.Sleep(b.fault.Slow)
	}
	if b.fault.Cut > 0 {
		left := b.end - b.at
		if left <= 0 {
			if b.fault.Stall {
				<-b.gone
			}
			return 0, errors.New("cut")
		}
		p = p[:min(len(p), left)]
	}
	n, err := b.ReadCloser.Read(p)
	if at := b.fault.Flip - 1 - b.at; b.fault.Flip > 0 && at >= 0 && at < n {
		p[at] ^= 0x55
	}
	b.at += n
	return n, err
}

// TestNameThatChanges: the name of a context's server leads to an allowed
// address at first, and to a forbidden one when the transfer is resumed.
func TestNameThatChanges(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\noptions attempts:1 timeout:2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := hostA.ListenPacket(t.Context(), "udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer names.Close()
	go contextstest.ServeNames(names, "127.0.0.2", "127.0.0.3")
	content, _ := faultyContext(t)
	allowed := &contextstest.FaultServer{Content: content, Faults: []fault{{Cut: contextSize / 2}}}
	at := serve(t, hostA, "127.0.0.2:0", allowed.ServeHTTP)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(at, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, hostA, "127.0.0.3:"+port, func(http.ResponseWriter, *http.Request) { t.Error("a request to a forbidden address") })

	f := newFarm(t)
	spy := hosttest.StartSpy(t, hostA)
	f.vars = []string{"DOCKER_HOST=" + spy.DockerHost()}
	inside := []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolv}
	f.workerInside(inside, hostA, "one", f.policy("context: {schemes: [http], http: {networks: [127.0.0.2/32]}}\n"))
	spy.Forget()
	w := &watchedFarm{farm: f, spy: spy}
	w.refused(t, jobs.Spec{Context: &jobs.Context{Ref: "http://rebind.example:" + port + "/x"}, Build: &jobs.Build{}}, jobs.KindForbiddenAddress, "")
	if n := len(allowed.Requests()); n != 1 || len(spy.Makes()) > 0 {
		t.Errorf("the allowed address was asked %d times and the daemon for %q; want once, and nothing", n, spy.Makes())
	}
}
