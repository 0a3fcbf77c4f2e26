package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/slipway-farm/slipway/internal/jobs"
)

var (
	_ jobs.Webhooks  = (*Farm)(nil)
	_ jobs.HookCalls = (*Farm)(nil)
)

func ofHook(name, verb string) string { return "/v1/webhooks/" + url.PathEscape(name) + verb }

func noWebhook(name string, err error) error {
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: %s", jobs.ErrNoWebhook, name)
	}
	return err
}

// AddWebhook implements jobs.Webhooks; who adds it is the holder of the token.
func (f *Farm) AddWebhook(ctx context.Context, w jobs.Webhook) error {
	err := f.call(ctx, request{method: http.MethodPost, path: "/v1/webhooks", doc: w}, nil)
	if !errors.Is(err, errExists) {
		return err
	}
	list, listErr := f.Webhooks(ctx)
	switch there := slices.ContainsFunc(list, func(h jobs.Webhook) bool { return h.Name == w.Name }); {
	case listErr != nil:
		return listErr
	case there:
		return fmt.Errorf("%w: %s", jobs.ErrWebhookExists, w.Name)
	}
	return jobs.ErrManyWebhooks
}

// Webhooks implements jobs.Webhooks.
func (f *Farm) Webhooks(ctx context.Context) ([]jobs.Webhook, error) {
	var got struct {
		Webhooks []jobs.Webhook `json:"webhooks"`
	}
	return got.Webhooks, f.call(ctx, request{method: http.MethodGet, path: "/v1/webhooks", again: true}, &got)
}

// ChangeWebhook implements jobs.Webhooks.
func (f *Farm) ChangeWebhook(ctx context.Context, name string, change func(*jobs.Webhook) error) error {
	for {
		list, err := f.Webhooks(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(w jobs.Webhook) bool { return w.Name == name })
		if i < 0 {
			return fmt.Errorf("%w: %s", jobs.ErrNoWebhook, name)
		}
		next := list[i]
		if err := change(&next); err != nil {
			return err
		}
		doc := map[string]any{"was": list[i], "webhook": next}
		err = f.call(ctx, request{method: http.MethodPut, path: ofHook(name, ""), doc: doc}, nil)
		if !errors.Is(err, errChanged) {
			return noWebhook(name, err)
		}
	}
}

// RemoveWebhook implements jobs.Webhooks.
func (f *Farm) RemoveWebhook(ctx context.Context, name string) error {
	return noWebhook(name, f.call(ctx, request{method: http.MethodDelete, path: ofHook(name, "")}, nil))
}

// AddCalls implements jobs.HookCalls, for calls that try a webhook out.
func (f *Farm) AddCalls(ctx context.Context, calls ...jobs.HookCall) (int, error) {
	for _, c := range calls {
		err := f.call(ctx, request{method: http.MethodPost, path: ofHook(c.Hook, "/test"), doc: map[string]string{"id": c.ID}, again: true}, nil)
		if err != nil {
			return 0, noWebhook(c.Hook, err)
		}
	}
	return 0, nil
}

func ofCall(id, verb string) string { return "/v1/calls/" + url.PathEscape(id) + verb }

func noCall(id string, err error) error {
	if errors.Is(err, errNotFound) {
		return fmt.Errorf("%w: %s", jobs.ErrNoCall, id)
	}
	return err
}

// Calls implements jobs.HookCalls.
func (f *Farm) Calls(ctx context.Context, hook string, limit int) ([]jobs.HookCall, error) {
	var got struct {
		Calls []jobs.HookCall `json:"calls"`
	}
	query := url.Values{"limit": {fmt.Sprint(min(limit, jobs.CallsKept))}}
	if hook != "" {
		query.Set("hook", hook)
	}
	return got.Calls, f.call(ctx, request{method: http.MethodGet, path: "/v1/calls", query: query, again: true}, &got)
}

// Call implements jobs.HookCalls.
func (f *Farm) Call(ctx context.Context, id string) (c jobs.HookCall, err error) {
	err = f.call(ctx, request{method: http.MethodGet, path: ofCall(id, ""), again: true}, &c)
	return c, noCall(id, err)
}

// Redeliver implements jobs.HookCalls.
func (f *Farm) Redeliver(ctx context.Context, id string) error {
	err := f.call(ctx, request{method: http.MethodPost, path: ofCall(id, "/redeliver")}, nil)
	if errors.Is(err, errChanged) {
		return jobs.ErrCallDue
	}
	return noCall(id, err)
}
