package docker

import (
	"context"
	"net"
	"net/http"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// admit returns why the registry of an image may not be asked, nil when it may.
func (e *Engine) admit(ctx context.Context, ref string) error {
	if e.open == nil {
		return nil
	}
	return e.open.Admit(ctx, ref)
}

// refused returns the refusal of a registry that is not open. The daemon came to ask
// it all the same where triggers of a base led there, or where the name has another
// address by now; no job is told what it met there.
func (e *Engine) refused(ctx context.Context, ref string) error {
	if err := e.admit(ctx, ref); err != nil && jobs.AsFailure(err).Kind == jobs.KindRegistryNotAllowed {
		return err
	}
	return nil
}

// transportTo returns what reaches the registry of an image and no place that it may
// not send on to. done gives back its connections: none may serve another question,
// for which they would not be open.
func (e *Engine) transportTo(ctx context.Context, ref string) (rt http.RoundTripper, done func(), err error) {
	if e.open == nil {
		return e.http, func() {}, nil
	}
	dialer, err := e.open.Dialer(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	if dialer == nil {
		return e.http, func() {}, nil
	}
	direct := e.http.Clone()
	direct.DialContext = dialer.DialContext
	return guardedTransport{e, direct}, direct.CloseIdleConnections, nil
}

// guardedTransport keeps requests away from what is not open, redirects and token
// servers included.
type guardedTransport struct {
	engine *Engine
	direct *http.Transport
}

// RoundTrip implements http.RoundTripper. A proxy is the operator's, and is at an
// inside address mostly. It resolves and connects by itself, so that the name is all
// that can be judged.
func (g guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	via := g.engine.http
	if via.Proxy == nil {
		return g.direct.RoundTrip(req)
	}
	if proxy, err := via.Proxy(req); err != nil || proxy == nil {
		return g.direct.RoundTrip(req)
	}
	port := req.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[req.URL.Scheme]
	}
	// With its port, any host is that of a registry.
	if err := g.engine.admit(req.Context(), net.JoinHostPort(req.URL.Hostname(), port)+"/x"); err != nil {
		return nil, err
	}
	return via.RoundTrip(req)
}
