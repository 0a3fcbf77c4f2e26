// Package remote is a farm that is reached over its HTTP API. It has the methods that the
// command line calls on the service, the registries and the artifact store where it reaches
// these itself, and returns their errors.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// ErrDenied is returned, wrapped, when the server does not take the token, or not for this.
var ErrDenied = errors.New("the farm's server denied access")

// ErrServer is returned, wrapped, when the server cannot be talked to.
var ErrServer = errors.New("cannot reach the farm's server")

// Farm sends requests to a server. It is safe for concurrent use.
type Farm struct {
	// Traceparent is the trace that requests belong to, "" for none.
	Traceparent jobs.Traceparent

	server *url.URL
	token  string
	http   *http.Client
}

// New makes a Farm of the server's URL and the text of a token, "" for none.
func New(server, token string) (*Farm, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("found %q; want a URL such as https://farm.example.com", jobs.Clip(server))
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is documented to be one
	transport.ResponseHeaderTimeout = headerPatience
	return &Farm{server: u, token: token, http: &http.Client{Transport: transport}}, nil
}

const (
	// headerPatience is how long the server may take to begin an answer.
	headerPatience = 2 * time.Minute
	// tries is how often a request that may be repeated is sent.
	tries = 4
)

// problem is what the server reports; see package api.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Hint   string         `json:"hint"`
	Errors []jobs.Problem `json:"errors"`
}

// err is the error that the problem stands for.
func (p problem) err() error {
	kind := strings.TrimPrefix(p.Type, "/problems/")
	text := p.Title
	if p.Detail != "" {
		text = p.Detail
	}
	sentinels := map[string]error{
		"job_not_found": jobs.ErrNotFound, "job_finished": jobs.ErrFinished, "idempotency_key_reused": jobs.ErrConflict,
		"farm_full": jobs.ErrFull, "redis_unavailable": jobs.ErrUnreachable, "parameter_invalid": jobs.ErrInvalid,
		"unauthorized": ErrDenied, "forbidden": ErrDenied, "not_found": errNotFound, "changed_meanwhile": errChanged, "exists": errExists,
	}
	if kind == "redis_unavailable" {
		text = "the farm's server cannot use it"
	}
	if kind == string(jobs.KindSpecInvalid) && len(p.Errors) > 0 {
		return &jobs.Invalid{Problems: p.Errors}
	}
	if kind == "rebuild_conflict" || kind == "rebuild_impossible" {
		return &rebuild.Refused{Text: text, Advice: p.Hint}
	}
	if sentinel := sentinels[kind]; sentinel != nil {
		// The server's words begin with those of the error, where it has made them of one.
		if text = strings.TrimPrefix(text, sentinel.Error()+": "); text == sentinel.Error() || text == p.Title {
			return fmt.Errorf("%w", sentinel)
		}
		return fmt.Errorf("%w: %s", sentinel, text)
	}
	for _, info := range jobs.Kinds() {
		if string(info.Kind) == kind {
			return jobs.Fail(info.Kind, nil, p.Hint, "%s", text)
		}
	}
	return fmt.Errorf("the farm's server answered: %s (status %d)", text, p.Status)
}

// Errors that those who ask for one thing give another meaning.
var (
	errNotFound = errors.New("not found")
	errChanged  = errors.New("it is another one by now")
	errExists   = errors.New("it exists")
)

// Whoami asks who the token is. It fails when the server cannot be reached, or does not take
// the token.
func (f *Farm) Whoami(ctx context.Context) (p access.Principal, err error) {
	return p, f.call(ctx, request{method: http.MethodGet, path: "/v1/whoami", once: true}, &p)
}

// request is one to the server.
type request struct {
	method, path string
	query        url.Values
	// doc is sent as JSON, body as it is.
	doc  any
	body io.Reader
	// again says that the request may be repeated although the server may have done it, once
	// that it is sent once whatever comes.
	again, once bool
}

// call sends a request and reads the answer into out, unless that is nil.
func (f *Farm) call(ctx context.Context, r request, out any) error {
	resp, err := f.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: its answer was cut off: %w", ErrServer, err)
	}
	return nil
}

// send sends a request, again where that is safe, and returns an answer that is no problem.
func (f *Farm) send(ctx context.Context, r request) (*http.Response, error) {
	pause := 200 * time.Millisecond
	for try := 1; ; try++ {
		resp, wait, err := f.once(ctx, r)
		if err == nil || wait < 0 || r.once || try == tries || ctx.Err() != nil {
			return resp, err
		}
		select {
		case <-time.After(max(wait, pause)):
			pause *= 2
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// longestWait is how long a server that is busy is waited for at one go.
const longestWait = 10 * time.Second

// once sends a request once. wait is how long to wait before it is sent again, negative for
// never.
func (f *Farm) once(ctx context.Context, r request) (resp *http.Response, wait time.Duration, err error) {
	body := r.body
	if r.doc != nil {
		raw, err := json.Marshal(r.doc)
		if err != nil {
			return nil, -1, fmt.Errorf("encode a request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	u := *f.server
	u = *u.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, -1, fmt.Errorf("make a request: %w", err)
	}
	if r.doc != nil {
		req.Header.Set("Content-Type", "application/json")
	} else if r.body != nil {
		req.Header.Set("Content-Type", "application/zstd")
	}
	if f.token != "" {
		req.Header.Set("Authorization", "Bearer "+f.token)
	}
	if f.Traceparent != "" {
		req.Header.Set("Traceparent", string(f.Traceparent))
	}
	resp, err = f.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, -1, context.Cause(ctx)
		}
		wait = -1
		if r.again {
			wait = 0
		}
		return nil, wait, fmt.Errorf("%w: %w", ErrServer, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, 0, nil
	}
	defer resp.Body.Close()
	return nil, retryAfter(r, resp), ofAnswer(resp)
}

// retryAfter is when to send a request again that the server has not done.
func retryAfter(r request, resp *http.Response) time.Duration {
	if r.body != nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return -1
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if wait := time.Duration(seconds) * time.Second; err == nil && wait <= longestWait {
		return wait
	}
	return -1
}

// ofAnswer is the error of an answer that reports one.
func ofAnswer(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p problem
	if err == nil && resp.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(raw, &p) == nil {
		return p.err()
	}
	return fmt.Errorf("%w: what answers there is another server (status %d)", ErrServer, resp.StatusCode)
}
