package api

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// webhooks answers GET /v1/webhooks.
func (s *Server) webhooks(x *exchange) error {
	all, err := s.Webhooks.Webhooks(x.Context())
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.Webhook{"webhooks": append([]jobs.Webhook{}, all...)})
}

// addWebhook answers POST /v1/webhooks.
func (s *Server) addWebhook(x *exchange) error {
	var w jobs.Webhook
	if err := x.document(&w); err != nil {
		return err
	}
	w.By = x.who.Name
	if err := w.Validate(); err != nil {
		return notHook(err)
	}
	err := s.Webhooks.AddWebhook(x.Context(), w)
	if errors.Is(err, jobs.ErrWebhookExists) || errors.Is(err, jobs.ErrManyWebhooks) {
		return problem("exists", "%v", err)
	}
	if err != nil {
		return err
	}
	return x.json(http.StatusCreated, w)
}

// notHook makes what is wrong with a webhook a problem of the request.
func notHook(err error) error {
	p := problem("body_invalid", "%v", err)
	if invalid, ok := errors.AsType[*jobs.Invalid](err); ok {
		p.Errors = invalid.Problems
	}
	return p
}

// hookChange replaces a webhook if it is still the one that the client saw.
type hookChange struct {
	Was     jobs.Webhook `json:"was"`
	Webhook jobs.Webhook `json:"webhook"`
}

// changeWebhook answers PUT /v1/webhooks/{name}.
func (s *Server) changeWebhook(x *exchange) error {
	var req hookChange
	if err := x.document(&req); err != nil {
		return err
	}
	name := x.PathValue("name")
	if req.Webhook.Name != name {
		return problem("body_invalid", "want the webhook of the path")
	}
	if err := req.Webhook.Validate(); err != nil {
		return notHook(err)
	}
	err := s.Webhooks.ChangeWebhook(x.Context(), name, func(w *jobs.Webhook) error {
		if !sameJSON(*w, req.Was) {
			return problem("changed_meanwhile", "the webhook is another one by now")
		}
		req.Webhook.Created, req.Webhook.By = w.Created, w.By
		*w = req.Webhook
		return nil
	})
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, req.Webhook)
}

// sameJSON reports whether two documents say the same: one of them has travelled.
func sameJSON(a, b any) bool {
	rawA, errA := json.Marshal(a)
	rawB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(rawA, rawB)
}

// removeWebhook answers DELETE /v1/webhooks/{name}.
func (s *Server) removeWebhook(x *exchange) error {
	if err := s.Webhooks.RemoveWebhook(x.Context(), x.PathValue("name")); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// callPrefix begins the ID of each call.
const callPrefix = "msg_"

// testWebhook answers POST /v1/webhooks/{name}/test: the farm makes a call that tries it out.
func (s *Server) testWebhook(x *exchange) error {
	var req struct {
		// ID is the call's, where the client chooses it so that it can ask again.
		ID string `json:"id"`
	}
	if err := x.document(&req); err != nil {
		return err
	}
	if req.ID == "" {
		req.ID = callPrefix + strings.ToLower(rand.Text())
	}
	if own, ok := strings.CutPrefix(req.ID, callPrefix); !ok || !jobs.IsID(own) {
		return problem("body_invalid", "id: found %q; want %s and lower-case letters, digits and -", jobs.Clip(req.ID), callPrefix)
	}
	all, err := s.Webhooks.Webhooks(x.Context())
	if err != nil {
		return err
	}
	name := x.PathValue("name")
	for _, w := range all {
		if w.Name != name {
			continue
		}
		c := jobs.NewTestCall(name, req.ID)
		if refused, err := s.Calls.AddCalls(x.Context(), c); err != nil {
			return err
		} else if refused > 0 {
			return problem("busy", "too many calls wait for this webhook")
		}
		return s.showCall(x, http.StatusAccepted, c.ID)
	}
	return problem("not_found", "%v: %s", jobs.ErrNoWebhook, jobs.Clip(name))
}

// calls answers GET /v1/calls: the log of calls, the newest first.
func (s *Server) calls(x *exchange) error {
	limit, err := x.number("limit", 1, jobs.CallsKept, 50)
	if err != nil {
		return err
	}
	calls, err := s.Calls.Calls(x.Context(), x.params.Get("hook"), limit)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]jobs.HookCall{"calls": append([]jobs.HookCall{}, calls...)})
}

// call answers GET /v1/calls/{call}.
func (s *Server) call(x *exchange) error { return s.showCall(x, http.StatusOK, x.PathValue("call")) }

func (s *Server) showCall(x *exchange, status int, id string) error {
	c, err := s.Calls.Call(x.Context(), id)
	if err != nil {
		return err
	}
	return x.json(status, c)
}

// redeliver answers POST /v1/calls/{call}/redeliver.
func (s *Server) redeliver(x *exchange) error {
	id := x.PathValue("call")
	err := s.Calls.Redeliver(x.Context(), id)
	if errors.Is(err, jobs.ErrCallDue) {
		return problem("changed_meanwhile", "%v: it is tried by itself", err)
	}
	if err != nil {
		return err
	}
	return s.showCall(x, http.StatusAccepted, id)
}
