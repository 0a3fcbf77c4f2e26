// Package api is the farm over HTTP: jobs, their logs and outputs, contexts, hosts and
// queues, for programs in any language. It holds no logic of the farm: its handlers call
// the service that the command line calls. routes.go lists every route, openapi.yaml
// describes them.
package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/diskroom"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/rebuild"
)

// Farm is what the API works on.
type Farm struct {
	Jobs     *jobs.Service
	Hosts    jobs.Hosts
	Orders   jobs.Orders
	Recipes  jobs.Recipes
	Rebuilds jobs.Rebuilds
	Bases    jobs.Bases
	Changes  jobs.Changes
	Webhooks jobs.Webhooks
	Calls    jobs.HookCalls
	Blobs    *artifacts.Blobs
	Tokens   access.Tokens
	Trail    access.Trail
}

// Options of a Server. Zero limits mean the defaults.
type Options struct {
	Farm
	// Open takes requests without a token, as from Anyone.
	Open   bool
	Anyone access.Principal
	// Document adds what the parameters of a request say to a job document, in the words of
	// the flags of enqueue submit. Its errors are [*flags.ParameterError].
	Document func(base jobs.Spec, params url.Values) (jobs.Spec, error)
	// Parameters are those that Document knows.
	Parameters []string
	// Check judges a normalized document that a principal submits; nil takes all. Its
	// errors are *jobs.Failure.
	Check func(jobs.Spec) error
	// Advance moves a rebuild on that was begun or changed; nil leaves that to the workers.
	Advance func(ctx context.Context, id string) error
	// Limits of contexts that are uploaded.
	Limits contexts.Limits
	// TempDir holds contexts while they come, "" for the system's directory. UploadDir keeps
	// those that come in pieces; it is the server's own.
	TempDir, UploadDir string
	// Rate is how many requests a second one principal may send for long, Burst at once.
	Rate  float64
	Burst int
	// Uploads is how many contexts may come at the same time, Followers how many requests
	// may wait for jobs or read logs.
	// Feeds is how many jobs may be followed at the same time: each of them waits on a
	// connection to Redis. One token has at most half of each.
	Uploads, Followers, Feeds int
	// Patience is how long a client may take to send or to take a piece of a body.
	Patience time.Duration
	// Ready says why the server cannot do its work, nil when it can.
	Ready   func(context.Context) error
	Version string
	Log     *slog.Logger
}

func (o Options) complete() Options {
	set(&o.Rate, 200)
	set(&o.Burst, 400)
	set(&o.Uploads, 16)
	set(&o.Followers, 1000)
	set(&o.Feeds, 500)
	set(&o.Patience, time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func(context.Context) error { return nil }
	}
	return o
}

func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Server answers requests. It is safe for concurrent use.
type Server struct {
	Options
	routes  []route
	mux     *http.ServeMux
	feeds   *feeds
	changes changes
	planner *rebuild.Service
	rates   *rates
	uploads slots
	follows slots
	parts   uploadFiles
	origins *http.CrossOriginProtection
	// closing is closed by shut, once.
	closing chan struct{}
	shut    func()
}

// New makes a Server. Close ends what it reads in the background.
func New(o Options) *Server {
	s := &Server{Options: o.complete(), routes: routes(), mux: http.NewServeMux(), origins: http.NewCrossOriginProtection()}
	s.closing = make(chan struct{})
	s.shut = sync.OnceFunc(func() { close(s.closing) })
	s.feeds = newFeeds(s.Jobs, s.Log, s.Feeds)
	s.changes = changes{source: s.Changes, svc: s.Jobs, log: s.Log}
	s.planner = rebuild.NewService(s.Log, s.Rebuilds, s.Recipes, s.Bases, s.Jobs.NewID)
	s.rates = newRates(s.Rate, s.Burst)
	s.parts.dir, s.parts.room = s.UploadDir, diskroom.At
	s.uploads.most, s.follows.most = s.Uploads, s.Followers
	for _, r := range s.routes {
		s.mux.Handle(r.method+" "+r.path, s.handle(r))
	}
	s.mux.HandleFunc("/", s.noRoute)
	return s
}

// Close ends all followers, which the caller of http.Server.Shutdown waits for.
func (s *Server) Close() {
	s.shut()
	s.changes.close()
	s.feeds.close()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	unread(http.NewResponseController(w), r, s.Patience)
	if err := unambiguous(r); err != nil {
		s.fail(w, r, err)
		return
	}
	if s.Open && r.Header.Get("Authorization") == "" {
		if err := s.local(r); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// unambiguous refuses what the server and something in front of it may read differently: a path
// that has to be cleaned, and a header twice that may be there once.
func unambiguous(r *http.Request) error {
	raw := r.URL.EscapedPath()
	if clean := path.Clean("/" + raw); raw != clean && (clean == "/" || raw != clean+"/") {
		return problem("not_found", "%s is not how a path is written", jobs.Clip(r.URL.Path)).hint("leave out empty parts and dots")
	}
	for _, name := range []string{"Authorization", "Idempotency-Key", documentHeader, offsetHeader, completeHeader, "Content-Type", "Last-Event-Id"} {
		if len(r.Header.Values(name)) > 1 {
			return &ParameterError{name, "it may come once", ""}
		}
	}
	return nil
}

// local refuses what a web page of strangers could make a browser on this machine send: a
// request from another origin, or one to a name that was made to lead here.
func (s *Server) local(r *http.Request) error {
	if err := s.origins.Check(r); err != nil {
		return problem("forbidden", "%v", err)
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && host != "localhost" {
		return problem("forbidden", "no token is asked for here, so that the server is reached by its address only, not as %s", jobs.Clip(host)).
			hint("use the address, or start the server with tokens")
	}
	return nil
}
