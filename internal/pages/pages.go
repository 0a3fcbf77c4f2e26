package pages

import (
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Options of Pages.
type Options struct {
	// API answers what pages ask of the farm, and every request that is for no page.
	API http.Handler
	// Open is set when the API asks for no token.
	Open bool
	// Jobs and Hosts tell why jobs of a list wait, with one question for all of them. They
	// are asked only about jobs that the API has shown.
	Jobs  *jobs.Service
	Hosts jobs.Hosts
	// Log may be nil.
	Log *slog.Logger
}

// Pages answers requests of browsers. It is safe for concurrent use.
type Pages struct {
	Options
	mux     *http.ServeMux
	origins *http.CrossOriginProtection
	layout  *template.Template
	assets  map[string]asset
}

// New makes Pages.
func New(o Options) (*Pages, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pages{Options: o, mux: http.NewServeMux(), origins: http.NewCrossOriginProtection()}
	var err error
	if p.assets, err = readAssets(); err != nil {
		return nil, err
	}
	if p.layout, err = readTemplates(p.assets); err != nil {
		return nil, err
	}
	for _, r := range routes() {
		p.mux.Handle(r.method+" "+r.path, p.handle(r))
	}
	p.mux.HandleFunc("GET /assets/{version}/{name}", p.asset)
	p.mux.HandleFunc("/", p.rest)
	return p, nil
}

// policy allows what pages consist of, and nothing from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	p.mux.ServeHTTP(w, r)
}

// route is a row of the table of pages.
type route struct {
	method, path string
	// anyone may see it, also without a token.
	anyone bool
	do     func(*Pages, *visit) error
}

func routes() []route {
	return []route{
		{method: "GET", path: "/{$}", do: (*Pages).home},
		{method: "GET", path: "/login", anyone: true, do: (*Pages).loginForm},
		{method: "POST", path: "/login", anyone: true, do: (*Pages).login},
		{method: "POST", path: "/logout", anyone: true, do: (*Pages).logout},
		{method: "POST", path: "/theme", anyone: true, do: (*Pages).setTheme},

		{method: "GET", path: "/jobs", do: (*Pages).jobs},
		{method: "POST", path: "/jobs/bulk", do: (*Pages).bulk},
		{method: "GET", path: "/jobs/{id}", do: (*Pages).job},
		{method: "GET", path: "/jobs/{id}/live", do: (*Pages).live},
		{method: "GET", path: "/jobs/{id}/raw", do: (*Pages).raw},
		{method: "GET", path: "/jobs/{id}/outputs/{path...}", do: (*Pages).output},
		{method: "GET", path: "/jobs/{id}/{action}", do: (*Pages).confirm},
		{method: "POST", path: "/jobs/{id}/{action}", do: (*Pages).act},

		{method: "GET", path: "/hosts", do: (*Pages).hosts},
		{method: "POST", path: "/hosts/{host}/{order}", do: (*Pages).order},
	}
}

// handle answers the requests for a page: who visits, and what goes wrong are the same for all.
func (p *Pages) handle(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		v := &visit{pages: p, ResponseWriter: w, Request: req}
		defer func() {
			e := recover()
			if e == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
				panic(e)
			}
			if e != nil {
				p.Log.ErrorContext(req.Context(), "answering a request panicked", "request", jobs.Line(req.URL.Path, 256), "err", fmt.Errorf("%v", e), "stack", string(debug.Stack()))
				p.fail(v, errors.New("the page panicked"))
			}
		}()
		if err := p.admit(r, v); err != nil {
			p.fail(v, err)
			return
		}
		if err := r.do(p, v); err != nil {
			p.fail(v, err)
		}
	}
}

// home is the list of jobs.
func (p *Pages) home(v *visit) error { return v.redirect("/jobs") }

// rest hands on what is for no page. The API would tell a browser in JSON that there is no
// such thing.
func (p *Pages) rest(w http.ResponseWriter, r *http.Request) {
	if first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); r.Method == http.MethodGet && (first == "jobs" || first == "hosts") {
		p.fail(&visit{pages: p, ResponseWriter: w, Request: r}, notFound("there is no page "+jobs.Clip(r.URL.Path)))
		return
	}
	p.API.ServeHTTP(w, r)
}
