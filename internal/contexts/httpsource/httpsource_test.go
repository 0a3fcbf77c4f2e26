package httpsource_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/contexts/httpsource"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
)

func loopback() netguard.Guard {
	return netguard.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
}

// quick makes a source of http and https references to loopback that does not
// wait for long.
func quick(s *httptest.Server, change ...func(*httpsource.Options)) *httpsource.Source {
	opts := httpsource.Options{
		Schemes: []string{"http", "https"}, Guard: loopback(),
		Transfer: download.Transfer{Stall: 200 * time.Millisecond, Pause: time.Millisecond, Tries: 3},
	}
	if s != nil && s.Certificate() != nil {
		opts.RootCAs = x509.NewCertPool()
		opts.RootCAs.AddCert(s.Certificate())
	}
	for _, c := range change {
		c(&opts)
	}
	return httpsource.New(opts)
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func read(t *testing.T, s *httpsource.Source, c jobs.Context) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), c)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func checkFailure(t *testing.T, err error, kind jobs.Kind, says string) {
	t.Helper()
	f, ok := errors.AsType[*jobs.Failure](err)
	if !ok || f.Kind != kind || !strings.Contains(f.Message, says) || f.Hint == "" {
		t.Errorf("got %v, want %s: ...%s... with a hint", err, kind, says)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	contextstest.TestSource(t, func(t *testing.T) contextstest.SourceCase {
		var mu sync.Mutex
		stored := map[string][]byte{}
		s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			content, ok := stored[r.URL.Path]
			mu.Unlock()
			if !ok {
				http.NotFound(w, r)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}))
		t.Cleanup(s.Close)
		return contextstest.SourceCase{
			Source: quick(s),
			Place: func(_ *testing.T, content []byte) string {
				name := "/" + artifactstest.Digest(content)
				mu.Lock()
				defer mu.Unlock()
				stored[name] = content
				return s.URL + name
			},
			Missing: s.URL + "/missing?X-Amz-Signature=s3cret",
			Refused: map[string]jobs.Kind{
				"https://user:s3cret@" + s.Listener.Addr().String() + "/x": jobs.KindSpecInvalid,
				"https:///x": jobs.KindSpecInvalid,
			},
			Secrets: []string{"s3cret"},
		}
	})
}

// TestAddresses: no way to write an inside address leads there, and the answer
// is always the same.
func TestAddresses(t *testing.T) {
	t.Parallel()
	hits := &contextstest.FaultServer{Content: []byte("inside")}
	inside := serve(t, hits)
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	s := quick(nil, func(o *httpsource.Options) { o.Guard = netguard.Guard{} })
	var first string
	for _, host := range []string{
		"127.0.0.1", "localhost", "0.0.0.0", "0", "127.1", "127.0.1", "0x7f000001", "0x7f.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "127.0.0.1.",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]",
		"169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1",
	} {
		_, err := read(t, s, jobs.Context{Ref: "http://" + host + ":" + port + "/latest/meta-data"})
		checkFailure(t, err, jobs.KindForbiddenAddress, "leads to an address that contexts may not come from")
		if f, ok := errors.AsType[*jobs.Failure](err); ok {
			if first == "" {
				first = f.Message + f.Hint
			}
			if f.Message+f.Hint != first {
				t.Errorf("%s: the message differs from that of other addresses: %s", host, f.Message)
			}
		}
	}
	if n := len(hits.Requests()); n > 0 {
		t.Errorf("the inside server got %d requests", n)
	}
}

// TestRebinding: a name that leads to an allowed address first and to a
// forbidden one later gets through once.
func TestRebinding(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("x"), 100_000)
	fault := &contextstest.FaultServer{Content: content, Faults: []contextstest.Fault{{Cut: 50_000}}}
	outside := serve(t, fault) // on 127.0.0.1
	_, port, _ := net.SplitHostPort(outside.Listener.Addr().String())
	forbidden := &contextstest.FaultServer{Content: content}
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	inside := &http.Server{Handler: forbidden, ReadHeaderTimeout: time.Second}
	go func() { _ = inside.Serve(l) }()
	defer inside.Close()

	resolver := names(t, "127.0.0.1", "127.0.0.2")
	s := quick(nil, func(o *httpsource.Options) { o.Resolver = resolver })
	_, err = read(t, s, jobs.Context{Ref: "http://rebind.example:" + port + "/x"})
	checkFailure(t, err, jobs.KindForbiddenAddress, "")
	if n, m := len(fault.Requests()), len(forbidden.Requests()); n != 1 || m != 0 {
		t.Errorf("the allowed address got %d requests and the forbidden one %d, want 1 and 0", n, m)
	}
}

// names is a resolver that gives every name one address after the other; the
// last one stays.
func names(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go contextstest.ServeNames(conn, addresses...)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	plain := serve(t, &contextstest.FaultServer{Content: []byte("plain")})
	hop := func(from, to string) {
		mux.HandleFunc(from, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	}
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		if ref := r.Header.Get("Referer"); ref != "" {
			t.Errorf("the server learns where the request came from: %s", ref)
		}
		fmt.Fprint(w, "end")
	})
	hop("/1", "/end")
	hop("/2", "/1")
	hop("/3", "/2?X-Amz-Signature=s3cret")
	hop("/4", "/3")
	hop("/loop", "/loop")
	hop("/plain", plain.URL+"/x")
	hop("/metadata", "https://169.254.169.254/latest/")
	hop("/odd", "https://0x7f000001/")
	hop("/gopher", "gopher://127.0.0.1:70/x")
	hop("/file", "file:///etc/passwd")
	hop("/user", "https://u:p@"+s.Listener.Addr().String()+"/end")
	hop("/elsewhere", "https://elsewhere.example/x")
	src := quick(s, func(o *httpsource.Options) { o.Hosts = []string{"127.0.0.1", "169.254.*"} })
	for name, want := range map[string]struct {
		kind jobs.Kind
		says string
	}{
		"/1?s=s3cret": {}, "/3": {},
		"/4":         {jobs.KindRedirect, "more than 3 times"},
		"/loop":      {jobs.KindRedirect, "more than 3 times"},
		"/plain":     {jobs.KindRedirect, "without TLS"},
		"/metadata":  {jobs.KindForbiddenAddress, ""},
		"/odd":       {jobs.KindForbiddenAddress, ""},
		"/gopher":    {jobs.KindRedirect, "without TLS"},
		"/file":      {jobs.KindRedirect, "without TLS"},
		"/user":      {jobs.KindRedirect, "a user in it"},
		"/elsewhere": {jobs.KindHostNotAllowed, `"elsewhere.example"`},
	} {
		got, err := read(t, src, jobs.Context{Ref: s.URL + name})
		if want.kind == "" {
			if err != nil || string(got) != "end" {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
			continue
		}
		checkFailure(t, err, want.kind, want.says)
		if strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%s: the error shows the query: %v", name, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	fault := &contextstest.FaultServer{Content: []byte("x")}
	s := serve(t, fault)
	only := func(schemes, hosts []string) *httpsource.Source {
		return quick(nil, func(o *httpsource.Options) { o.Schemes, o.Hosts = schemes, hosts })
	}
	_, err := read(t, only([]string{"https"}, nil), jobs.Context{Ref: s.URL})
	checkFailure(t, err, jobs.KindSchemeNotAllowed, `"http"`)
	_, err = read(t, only([]string{"http"}, []string{"*.example.com"}), jobs.Context{Ref: s.URL})
	checkFailure(t, err, jobs.KindHostNotAllowed, `"127.0.0.1"`)
	if len(fault.Requests()) > 0 {
		t.Error("the server was asked all the same")
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]string{}
	mux := http.NewServeMux()
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	mux.HandleFunc("/hop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://example.com:"+port+"/end", http.StatusFound)
	})
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Host+r.URL.Path] = r.Header.Get("Authorization")
	})
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	src := quick(s, func(o *httpsource.Options) {
		o.Resolver = names(t, "127.0.0.1")
		o.Credentials = map[string]httpsource.Credential{
			"token": {Hosts: []string{"127.0.0.1:" + port, "example.com"}, BearerFile: file("token", "s3cret\n")},
			"port":  {Hosts: []string{"127.0.0.1"}, BearerFile: file("port", "s3cret\n")},
			"login": {Hosts: []string{"127.0.0.1:" + port}, BasicFile: file("login", "me:pa:ss\n")},
			"other": {Hosts: []string{"other.example"}, BearerFile: file("other", "s3cret")},
			"gone":  {Hosts: []string{"127.0.0.1:" + port}, BearerFile: filepath.Join(dir, "gone")},
		}
	})
	for _, tt := range []struct {
		path, credential string
		kind             jobs.Kind
	}{
		{"/none", "", ""},
		{"/token", "token", ""},
		{"/login", "login", ""},
		{"/hop", "token", ""},
		{"/x", "other", jobs.KindCredentialInvalid},
		{"/x", "port", jobs.KindCredentialInvalid},
		{"/x", "unknown", jobs.KindCredentialInvalid},
		{"/x", "gone", jobs.KindContextFetch},
	} {
		_, err := read(t, src, jobs.Context{Ref: s.URL + tt.path, Credential: tt.credential})
		if tt.kind != "" {
			checkFailure(t, err, tt.kind, `"`+tt.credential+`"`)
			if strings.Contains(fmt.Sprint(err), "s3cret") {
				t.Errorf("the error shows the secret: %v", err)
			}
		} else if err != nil {
			t.Errorf("%s: %v", tt.path, err)
		}
	}
	want := map[string]string{
		"127.0.0.1:" + port + "/none": "", "127.0.0.1:" + port + "/token": "Bearer s3cret",
		"127.0.0.1:" + port + "/login": "Basic " + base64.StdEncoding.EncodeToString([]byte("me:pa:ss")),
		"example.com:" + port + "/end": "",
	}
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("the servers saw %v, want %v", seen, want)
	}
}

// TestFaults: what passes is got over, what stays is told for what it is.
func TestFaults(t *testing.T) {
	t.Parallel()
	content := make([]byte, 200_000)
	for i := range content {
		content[i] = byte(i * 7 / 3)
	}
	type fault = contextstest.Fault
	later := map[string]string{"Retry-After": "1"}
	const infra = jobs.KindContextFetch
	for _, tt := range []struct {
		name   string
		faults []fault
		kind   jobs.Kind
		says   string
		asked  int // requests in all, 0 for any
	}{
		{"none", nil, "", "", 1},
		{"500, then good", []fault{{Status: 500}, {}}, "", "", 2},
		{"500 for ever", []fault{{Status: 500}}, infra, "the server answered 500 Internal Server Error, 3 times in a row", 3},
		{"503 with a minute", []fault{{Status: 503, Header: map[string]string{"Retry-After": "3600"}}}, infra, "come back in 1h", 1},
		{"429 with Retry-After, then good", []fault{{Status: 429, Header: later}, {}}, "", "", 2},
		{"429 for ever", []fault{{Status: 429}}, infra, "429 Too Many Requests", 3},
		{"404", []fault{{Status: 404}}, jobs.KindContextNotFound, "404 Not Found", 1},
		{"410", []fault{{Status: 410}}, jobs.KindContextNotFound, "410 Gone", 1},
		{"401", []fault{{Status: 401}}, jobs.KindContextDenied, "401 Unauthorized", 1},
		{"403", []fault{{Status: 403}}, jobs.KindContextDenied, "403 Forbidden", 1},
		{"400", []fault{{Status: 400}}, jobs.KindContextDenied, "400 Bad Request", 1},
		{"cut at 99 %, then resumed", []fault{{Cut: 198_000}, {}}, "", "", 2},
		{"cut again and again", []fault{{Cut: 50_000}, {Cut: 50_000}, {Cut: 50_000}, {}}, "", "", 4},
		{"cut where it cannot be resumed", []fault{{Cut: 198_000, NoRange: true, NoTag: true}, {NoRange: true, NoTag: true}}, "", "", 2},
		{"cut without progress", []fault{{Cut: 1}, {Cut: 1, NoRange: true}}, infra, "the connection ended after 1 of 200000 bytes", 0},
		{"stalled, then resumed", []fault{{Cut: 100_000, Stall: true}, {}}, "", "", 2},
		{"stalled for ever", []fault{{Cut: 100_000, Stall: true}, {Cut: 1, NoRange: true, Stall: true}}, infra, "nothing came for 200ms", 0},
		{"too long", []fault{{Length: 250_000}}, infra, "the connection ended after 200000 of 250000 bytes", 0},
		{"another content after a cut", []fault{{Cut: 100_000}, {Content: bytes.Repeat([]byte("y"), 200_000)}}, infra, "changed at its source", 2},
		{"another version after a cut", []fault{{Cut: 100_000, NoTag: true}, {Flip: 5, NoRange: true, NoTag: true}}, infra, "changed at its source", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := &contextstest.FaultServer{Content: content, Faults: tt.faults}
			s := serve(t, server)
			got, err := read(t, quick(nil), jobs.Context{Ref: s.URL + "/x?X-Amz-Signature=s3cret"})
			if tt.kind != "" {
				checkFailure(t, err, tt.kind, tt.says)
			} else if err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, %v, want the content", len(got), err)
			}
			if n := len(server.Requests()); tt.asked > 0 && n != tt.asked {
				t.Errorf("the server was asked %d times, want %d", n, tt.asked)
			}
			if strings.Contains(fmt.Sprint(err), "s3cret") {
				t.Errorf("the error shows the query: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	_, err := read(t, quick(nil), jobs.Context{Ref: "http://127.0.0.1:1/x"})
	checkFailure(t, err, jobs.KindContextFetch, "the connection failed after byte 0, 3 times in a row")
	_, err = read(t, quick(nil), jobs.Context{Ref: "http://no-such-host.invalid/x"})
	if f := jobs.AsFailure(err); f.Kind != jobs.KindContextNotFound && f.Kind != jobs.KindContextFetch { // without a resolver either is right
		t.Errorf("unknown host: %v", err)
	}
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	_, err = read(t, quick(nil), jobs.Context{Ref: s.URL})
	checkFailure(t, err, jobs.KindContextFetch, "certificate")
}

// TestSlow: a server that is slow but alive is waited for until the fetch's own
// time is over.
func TestSlow(t *testing.T) {
	t.Parallel()
	server := &contextstest.FaultServer{Content: make([]byte, 10_000), Faults: []contextstest.Fault{{Slow: 5 * time.Millisecond}}}
	s := serve(t, server)
	cause := errors.New("the fetch took too long")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 700*time.Millisecond, cause)
	defer cancel()
	r, err := quick(nil).Open(ctx, jobs.Context{Ref: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, cause) || n < 20 || len(server.Requests()) != 1 {
		t.Errorf("read %d bytes in %d requests, %v; want some in one, and %v", n, len(server.Requests()), err, cause)
	}
}

// TestResumedWithAnother: a server that knows Range and not If-Range answers with
// a part of another version.
func TestResumedWithAnother(t *testing.T) {
	t.Parallel()
	old, now := bytes.Repeat([]byte("a"), 1000), bytes.Repeat([]byte("b"), 1000)
	var asked atomic.Int32
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(old[:500])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2:
			w.Header().Set("ETag", `"v2"`)
			w.Header().Set("Content-Range", "bytes 500-999/1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(now[500:])
		default:
			_, _ = w.Write(now)
		}
	}))
	got, err := read(t, quick(s), jobs.Context{Ref: s.URL + "/x"})
	checkFailure(t, err, jobs.KindContextFetch, "changed at its source")
	if bytes.Contains(got, []byte("b")) {
		t.Errorf("read %d bytes of two versions", len(got))
	}
}
