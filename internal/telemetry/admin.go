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

// Admin serves /livez, /readyz, /metrics and /debug/pprof.
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
	mux.Handle("GET /readyz", Ready(checks))
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	a := &Admin{listener: ln, server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	go func() { _ = a.server.Serve(ln) }() // ends with Close; no caller waits for its error
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

// Ready answers 200 when every check holds, else 503, with the reasons
// as JSON.
func Ready(checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found := ask(r.Context(), checks)
		answer := struct {
			Ready  bool              `json:"ready"`
			Reason string            `json:"reason,omitempty"`
			Checks map[string]string `json:"checks"`
		}{Reason: reasons(checks, found), Checks: map[string]string{}}
		answer.Ready = answer.Reason == ""
		for i, c := range checks {
			answer.Checks[c.Name] = "ok"
			if found[i] != nil {
				answer.Checks[c.Name] = found[i].Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if !answer.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(answer) // the client is gone if this fails
	})
}
