//go:build integration && chaos

package chaos_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// shelf is a registry, with an account of what it was given under which tag.
type shelf struct {
	// addr is the same for all daemons, each in its own network namespace, and for the
	// workers, which are in none.
	addr string

	away atomic.Bool // it answers nothing but that it cannot

	mu   sync.Mutex
	puts []put
}

// put is a manifest that the registry has taken under a tag.
type put struct {
	tag, digest string    // tag is host:port/repository:tag
	at          time.Time // when it was asked to
}

// startRegistry starts one registry for the workers and all hosts' daemons.
func startRegistry(t *testing.T, hosts ...*hosttest.Host) *shelf {
	t.Helper()
	s := &shelf{}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: s.noting(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	serve := func(l net.Listener, err error) {
		if err != nil {
			t.Fatal(err)
		}
		s.addr = l.Addr().String() // nothing else lives in the hosts' namespaces
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l) // it ends with Close
		}()
		t.Cleanup(func() { _ = server.Close(); <-done })
	}
	serve((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))
	for _, h := range hosts {
		serve(h.Listen(t.Context(), "tcp", s.addr))
	}
	return s
}

// noting hands requests on, and notes which manifests were taken under a tag.
func (s *shelf) noting(content http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.away.Load() {
			http.Error(w, `{"errors":[{"code":"UNAVAILABLE","message":"the shelf is being painted"}]}`, http.StatusServiceUnavailable)
			return
		}
		repository, tag, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		if r.Method != http.MethodPut || !found {
			content.ServeHTTP(w, r)
			return
		}
		at := time.Now()
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		answer := &answered{ResponseWriter: w}
		content.ServeHTTP(answer, r)
		if sum := sha256.Sum256(raw); answer.status == http.StatusCreated {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.puts = append(s.puts, put{s.addr + "/" + repository + ":" + tag, "sha256:" + hex.EncodeToString(sum[:]), at})
		}
	})
}

// answered keeps the status of an answer.
type answered struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// under lists what was put under a tag since a time, the first one first.
func (s *shelf) under(tag string, since time.Time) []put {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.puts), func(p put) bool { return p.tag != tag || p.at.Before(since) })
}
