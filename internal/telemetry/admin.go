package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// Check is one condition of readiness; it returns why it does not hold.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// Admin serves /livez, /readyz (alias /healthz), /metrics and /debug/pprof.
type Admin struct {
	listener net.Listener
	server   *http.Server
}

// ListenAdmin opens the admin listener on addr and serves it until Close. It
// has no access control, so addr should be a loopback address.
func ListenAdmin(ctx context.Context, addr string, metrics http.Handler, checks []Check) (*Admin, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", readyHandler(checks))
	mux.Handle("GET /healthz", readyHandler(checks))
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	a := &Admin{listener: ln, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	go func() { _ = a.server.Serve(ln) }() // ends with Close; nobody is there to tell
	return a, nil
}

// Addr is the address that is listened on.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Close ends the listener and waits a moment for answers under way.
func (a *Admin) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := a.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = a.server.Close()
	}
	return err
}

// readyHandler answers 200 when every check holds, else 503, with the reasons
// as JSON.
func readyHandler(checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		answer := struct {
			Ready  bool              `json:"ready"`
			Checks map[string]string `json:"checks"`
		}{Ready: true, Checks: map[string]string{}}
		for _, c := range checks {
			answer.Checks[c.Name] = "ok"
			if err := c.Run(ctx); err != nil {
				answer.Ready, answer.Checks[c.Name] = false, err.Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if !answer.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(answer) // the client is gone if this fails
	})
}
