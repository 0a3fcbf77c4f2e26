package hosttest

import (
	"io"
	"log"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Login is a user of a registry; the zero value lets every user in.
type Login struct{ User, Password string }

// StartRegistry starts a registry that the host's daemon reaches, and only it.
// The address is 127.0.0.1:port; the daemon speaks plain HTTP to it.
func StartRegistry(t testing.TB, h *Host, login Login) (addr string) {
	t.Helper()
	return StartSharedRegistry(t, RegistryOptions{Login: login}, h)
}

// RegistryOptions tune a registry.
type RegistryOptions struct {
	Login Login
	// Before is called before each request is answered, and may hold it back until
	// the request's context is over. nil does nothing.
	Before func(*http.Request)
}

// StartSharedRegistry starts one registry that the daemons of all these hosts reach
// at the same address, so that images have one name for all of them.
func StartSharedRegistry(t testing.TB, opts RegistryOptions, hosts ...*Host) (addr string) {
	t.Helper()
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if (opts.Login != Login{}) && (opts.Login != Login{user, password}) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if opts.Before != nil {
			opts.Before(r)
		}
		content.ServeHTTP(w, r)
	})}
	addr = "127.0.0.1:0"
	ended := make(chan struct{})
	for _, h := range hosts {
		l, err := h.Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		addr = l.Addr().String()
		go func() {
			_ = server.Serve(l) // it ends with Close
			ended <- struct{}{}
		}()
		t.Cleanup(func() {
			_ = server.Close()
			<-ended
		})
	}
	return addr
}
