package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// handle answers the requests of a route: who sends them, whether they may, and what goes
// wrong are the same for all.
func (s *Server) handle(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		control := http.NewResponseController(w)
		body := &patientBody{ReadCloser: req.Body, control: control, patience: s.Patience, began: time.Now(), ended: req.Body == http.NoBody}
		answer := &answer{ResponseWriter: patientWriter{w, control, s.Patience}, before: func() {
			switch {
			case body.broken: // there is no rest to wait for
				w.Header().Set("Connection", "close")
			case !body.ended:
				unread(control, req, s.Patience)
			}
		}}
		x := &exchange{ResponseWriter: answer, Request: req}
		x.Body, x.leaveBody = body, body.leave
		if r.body != endless {
			x.Body = http.MaxBytesReader(w, body, r.body)
		}
		err := s.recovered(r, x)
		if err != nil && body.failed != nil {
			err = body.failed
		}
		if err != nil && answer.status == 0 {
			s.fail(answer, req, err)
			err = nil
		}
		s.leaveTrail(r, x, answer.status)
		if err != nil { // the client has to see that it does not have all
			s.Log.WarnContext(req.Context(), "an answer was cut off", "request", called(req), "err", err)
			panic(http.ErrAbortHandler)
		}
	}
}

// recovered is answer; a panic is an error of it.
func (s *Server) recovered(r route, x *exchange) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.Log.ErrorContext(x.Context(), "answering a request panicked", "request", called(x.Request), "err", fmt.Errorf("%v", v), "stack", string(debug.Stack()))
			err = errors.New("the handler panicked")
		}
	}()
	return s.answer(r, x)
}

// answer does what the route is for.
func (s *Server) answer(r route, x *exchange) (err error) {
	if x.params, err = url.ParseQuery(x.URL.RawQuery); err != nil {
		return &ParameterError{"query", err.Error(), "percent-encode what is not a letter or digit"}
	}
	if r.scope != "" {
		if x.who, err = s.principal(x.Request); err != nil {
			return err
		}
		if wait := s.rates.wait(x.who.Token); wait > 0 {
			return problem("too_many_requests", "%g a second are taken, and %d at once", s.Rate, s.Burst).retry(wait + time.Second)
		}
		switch {
		case r.farm && x.who.Tenant != "":
			return problem("forbidden", "this is about the whole farm, and the token is the tenant %s's", x.who.Tenant)
		case r.scope != valid && !x.who.May(r.scope):
			return problem("forbidden", "the token has %s; this needs %s", jobs.Either(x.who.Scopes), r.scope)
		}
	}
	lists := r.lists
	if r.flags {
		lists = slices.Concat(lists, s.Parameters)
	}
	if err := known(x.params, r.params, lists); err != nil {
		return err
	}
	return r.do(s, x)
}

// principal is who sends the request.
func (s *Server) principal(r *http.Request) (access.Principal, error) {
	header := r.Header.Get("Authorization")
	if header == "" && s.Open {
		return s.Anyone, nil
	}
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return access.Principal{}, problem("unauthorized", "want a bearer token")
	}
	id, secret, err := access.Split(strings.TrimSpace(text))
	if err != nil {
		return access.Principal{}, problem("unauthorized", "%v", err)
	}
	t, err := s.Tokens.Token(r.Context(), id)
	switch {
	case errors.Is(err, access.ErrNoToken), err == nil && !t.Matches(secret):
		return access.Principal{}, problem("unauthorized", "the token is unknown, or was revoked")
	case err != nil:
		return access.Principal{}, err
	case t.Expired(time.Now()):
		return access.Principal{}, problem("unauthorized", "the token %s (%s) expired at %s", t.ID, t.Name, t.Expires.UTC().Format(time.RFC3339))
	}
	return t.Principal(), nil
}

// called is a request in a line, for logs.
func called(r *http.Request) string { return r.Method + " " + jobs.Line(r.URL.Path, 256) }

// leaveTrail notes what a principal changed, or was refused to. Requests that are too many are
// not noted: they would push out what was noted before.
func (s *Server) leaveTrail(r route, x *exchange, status int) {
	reads := x.Method == http.MethodGet || x.Method == http.MethodHead || r.scope == access.Read
	if s.Trail == nil || status == http.StatusTooManyRequests || x.who.Name == "" || reads {
		return
	}
	from, _, _ := net.SplitHostPort(x.RemoteAddr)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.Context()), 2*time.Second)
	defer cancel()
	err := s.Trail.Record(ctx, access.Deed{
		By: x.who.Name, Token: x.who.Token, Tenant: x.who.Tenant, From: from, Action: called(x.Request), Status: status,
	})
	if err != nil {
		s.Log.WarnContext(ctx, "writing the trail failed", "request", called(x.Request), "by", x.who.Name, "err", err)
	}
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
	// before is called before the answer begins.
	before func()
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
		a.before()
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
		a.before()
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// noRoute answers what no route is for.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, route := range s.routes {
		probe := &http.Request{Method: route.method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern == route.method+" "+route.path && !slices.Contains(allowed, route.method) {
			allowed = append(allowed, route.method)
		}
	}
	if len(allowed) == 0 {
		s.fail(w, r, problem("not_found", "%s %s", r.Method, jobs.Clip(r.URL.Path)))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.fail(w, r, problem("method_not_allowed", "%s; it has %s", r.Method, jobs.Either(allowed)))
}
