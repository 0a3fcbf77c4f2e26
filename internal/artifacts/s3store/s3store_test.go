//go:build integration

package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/artifacts/s3store"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

var server *hosttest.S3

func TestMain(m *testing.M) {
	s, cleanup, err := hosttest.RunS3(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "s3store:", err)
		os.Exit(1)
	}
	server = s
	code := m.Run()
	if err := cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, "s3store:", err)
		code = 1
	}
	os.Exit(code)
}

// profile writes the server's keys into files, as an operator does.
func profile(t *testing.T, endpoint, secret string) s3conn.Profile {
	t.Helper()
	dir := t.TempDir()
	p := s3conn.Profile{Endpoint: endpoint, Region: "us-east-1", AccessKeyFile: filepath.Join(dir, "access"), SecretKeyFile: filepath.Join(dir, "secret")}
	for file, content := range map[string]string{p.AccessKeyFile: server.AccessKey, p.SecretKeyFile: secret} {
		if err := os.WriteFile(file, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// open returns a store under a prefix of its own.
func open(t *testing.T, endpoint string) *s3store.Store {
	t.Helper()
	prefix := strings.NewReplacer("/", "-", " ", "_", ",", "").Replace(t.Name())
	s, err := s3store.New("s3://"+server.Bucket+"/"+prefix, profile(t, endpoint, server.SecretKey), download.Transfer{Stall: time.Second, Pause: 10 * time.Millisecond, Tries: 3})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	artifactstest.TestStore(t, func(t *testing.T) artifacts.Store { return open(t, server.Endpoint) })
}

// proxy stands before the server and misbehaves as fault says, nil for not.
func proxy(t *testing.T, fault func(w http.ResponseWriter, r *http.Request, n int) bool) (endpoint string) {
	t.Helper()
	pass := passOn(t)
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		now := n
		mu.Unlock()
		if !fault(w, r, now) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// passOn hands requests to the server; their signature is about the Host header.
func passOn(t *testing.T) *httputil.ReverseProxy {
	to, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Error(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
}

// TestFaults: what passes is got over without a trace.
func TestFaults(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	fail := func(w http.ResponseWriter) bool {
		http.Error(w, "<Error><Code>SlowDown</Code></Error>", http.StatusServiceUnavailable)
		return true
	}
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request, n int) bool{
		"503 every other time": func(w http.ResponseWriter, _ *http.Request, n int) bool { return n%2 == 1 && fail(w) },
		"connection closed": func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n%3 == 1 {
				panic(http.ErrAbortHandler)
			}
			return false
		},
		"answer to a put lost": func(w http.ResponseWriter, r *http.Request, n int) bool {
			if r.Method != http.MethodPut || n > 3 {
				return false
			}
			passOn(t).ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobs := artifacts.NewBlobs(open(t, proxy(t, fault)), t.TempDir())
			b, err := blobs.Write(t.Context(), bytes.NewReader(content))
			if err != nil {
				t.Fatalf("Write = %v", err)
			}
			if got, err := blobs.Stat(t.Context(), b.Digest); err != nil || got.Blob != b {
				t.Errorf("Stat = %+v, %v, want %+v", got, err, b)
			}
			r, err := blobs.Read(t.Context(), b.Digest)
			if err != nil {
				t.Fatalf("Read = %v", err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestRefusedByReset: a server may refuse a blob that it has before it has read
// all of it, and close; the answer is lost then, each time.
func TestRefusedByReset(t *testing.T) {
	t.Parallel()
	content := artifactstest.Packed(t, bytes.Repeat([]byte("0123456789abcdef"), 40_000))
	blob := artifacts.Blob{Digest: artifactstest.Digest([]byte("reset")), Size: 640_000}
	puts := 0
	s := open(t, proxy(t, func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodPut {
			return false
		}
		if puts++; puts == 1 {
			return false
		}
		panic(http.ErrAbortHandler)
	}))
	for i, want := range []bool{true, false} {
		if made, err := s.Put(t.Context(), blob, bytes.NewReader(content)); err != nil || made != want {
			t.Errorf("Put %d = %v, %v, want %v", i+1, made, err, want)
		}
	}
	if puts != 2 {
		t.Errorf("%d requests, want 2", puts)
	}
}

// TestForGood: what stays is told for what it is, and is the store's fault.
func TestForGood(t *testing.T) {
	t.Parallel()
	digest := artifactstest.Digest([]byte("x"))
	denied := proxy(t, func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>AccessDenied</Code></Error>")
		return true
	})
	broken := proxy(t, func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	for _, tt := range []struct {
		name, url, endpoint, secret, says string
	}{
		{"no bucket", "s3://no-such-bucket/x", server.Endpoint, server.SecretKey, `there is no bucket "no-such-bucket"`},
		{"wrong secret", "s3://" + server.Bucket, server.Endpoint, "wrong", "does not know these credentials"},
		{"denied", "s3://" + server.Bucket, denied, server.SecretKey, "does not let this user read or write"},
		{"no server there", "s3://" + server.Bucket, "http://127.0.0.1:1", server.SecretKey, "cannot be reached at 127.0.0.1:1"},
		{"500 for ever", "s3://" + server.Bucket, broken, server.SecretKey, "could not be used for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := s3store.New(tt.url, profile(t, tt.endpoint, tt.secret), download.Transfer{Pause: time.Millisecond, Tries: 2})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Put(t.Context(), artifacts.Blob{Digest: digest, Size: 1}, bytes.NewReader(artifactstest.Packed(t, []byte("x"))))
			f := artifacts.StoreFailure(err, "the thing")
			if err == nil || f.Kind != jobs.KindStore || !strings.Contains(f.Message, tt.says) || f.Hint == "" {
				t.Errorf("Put = %v, told as %q, want ...%s...", err, f.Message, tt.says)
			}
			if _, err := s.Open(t.Context(), digest); err == nil || errors.Is(err, artifacts.ErrNotFound) && tt.name != "no bucket" {
				t.Errorf("Open = %v, want an error that is not ErrNotFound", err)
			}
		})
	}
	for _, bad := range []string{"", "/var/store", "s3:///x", "s3://u:p@b/x", "s3://b/x?endpoint=y"} {
		if _, err := s3store.New(bad, s3conn.Profile{}, download.Transfer{}); err == nil {
			t.Errorf("New(%q) = nil, want an error", bad)
		}
	}
}

// TestOthersAreLeftAlone: what others keep in the bucket is not listed.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := open(t, server.Endpoint)
	if _, err := s.Put(t.Context(), artifacts.Blob{Digest: artifactstest.Digest(nil)}, bytes.NewReader(artifactstest.Packed(t, nil))); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(server.Dir, "data", server.Bucket, "TestOthersAreLeftAlone", "sha256", "zz")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README", strings.Repeat("a", 64) + ".zst"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	if err := s.List(context.Background(), func(artifacts.Stored) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("List found %d blobs, %v, want 1", n, err)
	}
}
