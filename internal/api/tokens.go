package api

import (
	"net/http"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// tokens answers GET /v1/tokens.
func (s *Server) tokens(x *exchange) error {
	all, err := s.Tokens.Tokens(x.Context())
	if err != nil {
		return err
	}
	docs := make([]access.ShownToken, len(all))
	for i, t := range all {
		docs[i] = access.Shown(t, "")
	}
	return x.json(http.StatusOK, map[string][]access.ShownToken{"tokens": docs})
}

// addToken answers POST /v1/tokens.
func (s *Server) addToken(x *exchange) error {
	var req struct {
		Name    string         `json:"name"`
		Scopes  []access.Scope `json:"scopes"`
		Tenant  string         `json:"tenant"`
		Expires jobs.Duration  `json:"expires_in"`
	}
	if err := x.document(&req); err != nil {
		return err
	}
	if req.Expires < 0 {
		return problem("body_invalid", "expires_in: found %s; want more than 0, or leave it out", req.Expires)
	}
	now := time.Now().UTC().Truncate(time.Second)
	t := access.Token{Name: req.Name, Scopes: req.Scopes, Tenant: req.Tenant, Created: now, By: x.who.Name}
	if req.Expires > 0 {
		t.Expires = now.Add(req.Expires.D())
	}
	t, text, err := access.NewToken(t)
	if err != nil {
		return problem("body_invalid", "%v", err)
	}
	if err := s.Tokens.AddToken(x.Context(), t); err != nil {
		return err
	}
	return x.json(http.StatusCreated, access.Shown(t, text))
}

// revokeToken answers DELETE /v1/tokens/{token}.
func (s *Server) revokeToken(x *exchange) error {
	if err := s.Tokens.RevokeToken(x.Context(), jobs.Clip(x.PathValue("token"))); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// trail answers GET /v1/trail: what was done, the newest first.
func (s *Server) trail(x *exchange) error {
	limit, err := x.number("limit", 1, 1000, 100)
	if err != nil {
		return err
	}
	deeds, err := s.Trail.Deeds(x.Context(), limit)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, map[string][]access.Deed{"trail": append([]access.Deed{}, deeds...)})
}

// whoami answers GET /v1/whoami.
func (s *Server) whoami(x *exchange) error { return x.json(http.StatusOK, x.who) }
