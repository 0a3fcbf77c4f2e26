package remote

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func ofQueue(queue, verb string) string { return "/v1/queues/" + url.PathEscape(queue) + verb }

// SetPause is that of jobs.Service.
func (f *Farm) SetPause(ctx context.Context, p jobs.Pause) error {
	doc := map[string]any{"reason": p.Reason, "priority": p.Priority}
	return f.call(ctx, request{method: http.MethodPost, path: ofQueue(p.Queue, "/pause"), doc: doc, again: true}, nil)
}

// EndPause is that of jobs.Service.
func (f *Farm) EndPause(ctx context.Context, queue string, p jobs.Priority) (bool, error) {
	paused, err := f.Paused(ctx, queue)
	if err != nil {
		return false, err
	}
	was := slices.ContainsFunc(paused, func(pause jobs.Pause) bool { return pause.Priority == p })
	return was, f.call(ctx, request{method: http.MethodPost, path: ofQueue(queue, "/resume"), doc: map[string]any{"priority": p}, again: true}, nil)
}

// queues is what the server knows of queues, these or all.
type queues struct {
	jobs.Load
	Paused  []jobs.Pause  `json:"paused"`
	Weights []jobs.Weight `json:"weights"`
}

func (f *Farm) queues(ctx context.Context, names []string) (q queues, err error) {
	return q, f.call(ctx, request{method: http.MethodGet, path: "/v1/queues", query: url.Values{"queue": names}, again: true}, &q)
}

// Paused is that of jobs.Service.
func (f *Farm) Paused(ctx context.Context, names ...string) ([]jobs.Pause, error) {
	q, err := f.queues(ctx, names)
	return q.Paused, err
}

// Weights is that of jobs.Service.
func (f *Farm) Weights(ctx context.Context, names ...string) ([]jobs.Weight, error) {
	q, err := f.queues(ctx, names)
	return q.Weights, err
}

// SetWeight is that of jobs.Service.
func (f *Farm) SetWeight(ctx context.Context, w jobs.Weight) error {
	doc := map[string]any{"name": w.Name, "turns": w.Turns}
	return f.call(ctx, request{method: http.MethodPost, path: ofQueue(w.Queue, "/weights"), doc: doc, again: true}, nil)
}

// Load is that of jobs.Service; the server knows its hosts.
func (f *Farm) Load(ctx context.Context, _ jobs.Hosts, names ...string) (jobs.Load, int, error) {
	q, err := f.queues(ctx, names)
	return q.Load, 0, err
}

// Known lists the hosts; see [jobs.KnownHosts].
func (f *Farm) Known(ctx context.Context) ([]jobs.KnownHost, time.Time, error) {
	var got struct {
		Hosts []jobs.KnownHost `json:"hosts"`
		Now   time.Time        `json:"now"`
	}
	err := f.call(ctx, request{method: http.MethodGet, path: "/v1/hosts", again: true}, &got)
	return got.Hosts, got.Now, err
}

func ofHost(host, verb string) string { return "/v1/hosts/" + url.PathEscape(host) + "/" + verb }

// Order is that of jobs.Orders; who gives the order is the holder of the token.
func (f *Farm) Order(ctx context.Context, host string, o jobs.HostOrder) (jobs.HostOrder, error) {
	doc := map[string]any{"reason": o.Reason}
	if o.Timeout != nil {
		doc["timeout"] = o.Timeout
	}
	var h jobs.KnownHost
	if err := f.call(ctx, request{method: http.MethodPost, path: ofHost(host, string(o.Kind)), doc: doc}, &h); err != nil {
		return o, err
	}
	if h.Order != nil {
		o = *h.Order
	}
	return o, nil
}

// Resume is that of jobs.Orders.
func (f *Farm) Resume(ctx context.Context, host string) (bool, error) {
	list, _, err := f.Known(ctx)
	if err != nil {
		return false, err
	}
	found := jobs.HostsCalled(host, list)
	was := len(found) == 1 && found[0].Order != nil
	return was, f.call(ctx, request{method: http.MethodPost, path: ofHost(host, "resume"), again: true}, nil)
}

// MakeToken has the server make a token, whose text is in the answer.
func (f *Farm) MakeToken(ctx context.Context, t access.Token) (access.ShownToken, error) {
	doc := map[string]any{"name": t.Name, "scopes": t.Scopes, "tenant": t.Tenant}
	if !t.Expires.IsZero() {
		doc["expires_in"] = jobs.Duration(time.Until(t.Expires).Round(time.Second))
	}
	var made access.ShownToken
	return made, f.call(ctx, request{method: http.MethodPost, path: "/v1/tokens", doc: doc}, &made)
}
