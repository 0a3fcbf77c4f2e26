package hosttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Spy is a daemon's socket with a listener in between: it hands every request on,
// and remembers what the daemon was given.
type Spy struct {
	socket  string
	handler http.Handler
	serving sync.WaitGroup

	mu       sync.Mutex
	builds   []Body
	makes    []string
	refusing bool
	server   *http.Server // nil while the socket is closed
}

// Body is what a request carried.
type Body struct {
	// Digest is sha256:<hex> of Size bytes.
	Digest string
	Size   int64
}

// StartSpy listens before the host's daemon for the length of the test.
func StartSpy(t testing.TB, h *Host) *Spy {
	t.Helper()
	s := &Spy{socket: filepath.Join(t.TempDir(), "s")}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "docker"})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", h.Socket())
		}},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // a client that goes away is no news
	}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.refuses() {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"message":"the daemon is out of order"}`)
			return
		}
		s.look(r)
		proxy.ServeHTTP(w, r)
	})
	s.Open(t)
	t.Cleanup(func() {
		s.Shut()
		proxy.Transport.(*http.Transport).CloseIdleConnections()
	})
	return s
}

// Open lets the socket take connections again after Shut.
func (s *Spy) Open(t testing.TB) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.handler}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	s.serving.Go(func() { _ = server.Serve(l) }) // it ends with Shut
}

// Shut closes the socket and every connection that is not a container's output or a
// build's, as a daemon does that goes away without ending what it runs.
func (s *Spy) Shut() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	s.serving.Wait()
}

// Refuse makes every request fail with status 500, until it is called with false.
func (s *Spy) Refuse(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = on
}

func (s *Spy) refuses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing
}

// DockerHost is the spy's address in the form of DOCKER_HOST.
func (s *Spy) DockerHost() string { return "unix://" + s.socket }

// Builds are the contexts that the daemon was given to their end or until the
// worker broke off, in the order in which they ended.
func (s *Spy) Builds() []Body {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Body(nil), s.builds...)
}

// Makes are the paths of all requests that make something, and behind a space the name of
// what they make, where they have one.
func (s *Spy) Makes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.makes...)
}

// Forget forgets all requests so far, such as those by which a worker proves its host.
func (s *Spy) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.builds, s.makes = nil, nil
}

// making are requests that leave something on the daemon's disk or have it do
// work.
var making = regexp.MustCompile(`/(build|session|grpc|images/create|images/load|containers/create|volumes/create|networks/create)$`)

func (s *Spy) look(r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	what := making.FindStringSubmatch(r.URL.Path)
	if what == nil {
		return
	}
	s.mu.Lock()
	s.makes = append(s.makes, strings.TrimSpace(r.URL.Path+" "+r.URL.Query().Get("name")))
	s.mu.Unlock()
	if what[1] == "build" {
		r.Body = &watched{ReadCloser: r.Body, hash: sha256.New(), spy: s}
	}
}

// watched takes note of a body.
type watched struct {
	io.ReadCloser
	hash hash.Hash
	size int64
	spy  *Spy
	once sync.Once
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.hash.Write(p[:n])
	if w.size += int64(n); err != nil {
		w.once.Do(w.note)
	}
	return n, err
}

func (w *watched) note() {
	w.spy.mu.Lock()
	defer w.spy.mu.Unlock()
	w.spy.builds = append(w.spy.builds, Body{"sha256:" + hex.EncodeToString(w.hash.Sum(nil)), w.size})
}
