package pages

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
	"github.com/slipway-farm/slipway/internal/jobs"
)

//go:embed templates
var templateFiles embed.FS

func readTemplates(assets map[string]asset) (*template.Template, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"asset": func(name string) (string, error) {
			a, ok := assets[name]
			if !ok {
				return "", fmt.Errorf("there is no asset %s", name)
			}
			return a.address, nil
		},
		"age":     func(t time.Time) string { return jobs.Age(time.Since(t)) },
		"at":      func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"glyph":   glyph,
		"shortID": shortID,
		"digest":  shortDigest,
		"size":    size,
		"list":    func(words ...string) []string { return words },
	}).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the templates: %w", err)
	}
	return t, nil
}

// layout is what every page has around it.
type layout struct {
	Title, Theme, Path string
	// At is the part of the navigation that the page is in.
	At     string
	Themes []string
	Who    access.Principal
	// Open is set where no token is asked for.
	Open, MayOperate bool
	Page             any
}

// render answers with a page. It is made whole first, so that an error leaves none that is
// cut off.
func (p *Pages) render(v *visit, status int, name, title string, page any) error {
	var content bytes.Buffer
	l := layout{
		Title: title, Theme: theme(v.Request), Path: v.URL.RequestURI(), Themes: themes(), Who: v.who, Open: p.Open,
		MayOperate: v.mayOperate(), Page: page, At: "jobs",
	}
	if name == "failures" || name == "hosts" {
		l.At = name
	}
	if v.Method != http.MethodGet {
		l.Path = "/jobs"
	}
	if err := p.layout.ExecuteTemplate(&content, name, l); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	v.sent = true
	v.ResponseWriter.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.WriteHeader(status)
	_, _ = v.ResponseWriter.Write(content.Bytes()) // the browser sees that it is cut off
	return nil
}

// part answers with a part of a page, for one that is there to take in.
func (p *Pages) part(v *visit, name string, page any) error {
	return p.render(v, http.StatusOK, name, "", page)
}

// seesFarm reports whether the visitor sees what is about the whole farm; mayOperate and
// maySubmit report which buttons are of use. The API has the last word.
func (v *visit) seesFarm() bool      { return v.who.Tenant == "" && v.who.May(access.Read) }
func (v *visit) mayOperate() bool    { return v.who.Tenant == "" && v.who.May(access.Operate) }
func (v *visit) maySubmit() bool     { return v.who.May(access.Submit) }
func (v *visit) isFragment() bool    { return v.Request.Header.Get("HX-Request") != "" }
func (v *visit) wants(p string) bool { return v.URL.Query().Get("part") == p }

// fail answers with what is wrong, in words.
func (p *Pages) fail(v *visit, err error) {
	var problem *api.Problem
	switch {
	case errors.Is(err, context.Canceled) && v.Context().Err() != nil:
		return // the browser has gone
	case !errors.As(err, &problem):
		p.Log.ErrorContext(v.Context(), "answering a request failed", "request", v.Method+" "+jobs.Line(v.URL.Path, 256), "err", err)
		problem = &api.Problem{Status: http.StatusInternalServerError, Title: "the page cannot be shown", Hint: "ask the operator to look at the server's log"}
	}
	if v.sent { // the browser sees that it is cut off
		return
	}
	if problem.Status == http.StatusUnauthorized {
		_ = v.toLogin()
		return
	}
	if v.isFragment() { // what is there stays
		v.ResponseWriter.Header().Set("HX-Reswap", "none")
	}
	if err := p.render(v, problem.Status, "problem", "Problem", problem); err != nil {
		p.Log.ErrorContext(v.Context(), "answering a request failed", "request", v.Method+" "+jobs.Line(v.URL.Path, 256), "err", err)
	}
}
