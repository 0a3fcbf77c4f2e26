//go:build integration && chaos

package chaos_test

import (
	"io"
	"log"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-farm/slipway/internal/hosttest"
)

// startRegistry starts one registry that all hosts' daemons reach under one
// address, each in its own network namespace.
func startRegistry(t *testing.T, hosts ...*hosttest.Host) (addr string) {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	addr = "127.0.0.1:0"
	for _, h := range hosts {
		l, err := h.Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		addr = l.Addr().String() // nothing else lives in the others' namespaces
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l) // it ends with Close
		}()
		t.Cleanup(func() { _ = server.Close(); <-done })
	}
	return addr
}
