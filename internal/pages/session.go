package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
)

// sessionSeconds is how long a browser keeps the token. Every request checks it anew, so that
// one that is revoked ends at once.
const sessionSeconds = 12 * 60 * 60

// maxForm bounds a form: a frozen list of IDs is the largest.
const maxForm = 256 << 10

// admit finds out who visits. Requests that change something have to come from these pages.
func (p *Pages) admit(r route, v *visit) error {
	if err := p.origins.Check(v.Request); err != nil {
		return &api.Problem{
			Type: "/problems/forbidden", Title: "the request comes from another site", Status: http.StatusForbidden,
			Detail: err.Error(), Hint: "open the farm's own page, and try again",
		}
	}
	if v.Method == http.MethodPost {
		v.Request.Body = http.MaxBytesReader(v.ResponseWriter, v.Request.Body, maxForm)
		if err := v.ParseForm(); err != nil {
			return badForm(err.Error())
		}
	}
	if !p.Open {
		if c, err := v.Cookie(cookieName(v.Request)); err == nil {
			v.token = c.Value
		}
		if v.token == "" {
			if r.anyone {
				return nil
			}
			return &api.Problem{Type: "/problems/unauthorized", Title: "nothing tells who you are", Status: http.StatusUnauthorized}
		}
	}
	err := v.ask(get("/v1/whoami", nil), &v.who)
	if r.anyone && isStatus(err, http.StatusUnauthorized) {
		v.token, err = "", nil
	}
	return err
}

// secure reports whether the browser came by TLS. What stands in front of the server may say
// so: that makes the cookie stricter, and can do no more.
func secure(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// cookieName is that of the cookie with the token. With __Host- a browser takes it from no
// other host, and not without TLS.
func cookieName(r *http.Request) string {
	if secure(r) {
		return "__Host-slipway"
	}
	return "slipway"
}

func (v *visit) setCookie(name, value string, seconds int) {
	http.SetCookie(v.ResponseWriter, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: secure(v.Request), SameSite: http.SameSiteStrictMode,
	})
}

// loginPage is the form that takes a token.
type loginPage struct {
	Next, Problem string
}

func (p *Pages) loginForm(v *visit) error {
	next := local(v.URL.Query().Get("next"))
	if v.who.Name != "" || p.Open {
		return v.redirect(next)
	}
	return p.render(v, http.StatusOK, "login", "Sign in", loginPage{Next: next})
}

// login takes the text of a token, and keeps it in a cookie that scripts cannot read.
func (p *Pages) login(v *visit) error {
	next := local(v.PostFormValue("next"))
	if p.Open {
		return v.redirect(next)
	}
	v.token = strings.TrimSpace(v.PostFormValue("token"))
	if _, _, err := access.Split(v.token); err != nil {
		v.token = ""
		return p.render(v, http.StatusUnprocessableEntity, "login", "Sign in", loginPage{next, "This is not the text of a token: it begins with slipway_."})
	}
	err := v.ask(get("/v1/whoami", nil), &v.who)
	switch {
	case isStatus(err, http.StatusUnauthorized):
		return p.render(v, http.StatusUnprocessableEntity, "login", "Sign in", loginPage{next, "The token is unknown, was revoked, or has expired."})
	case err == nil && !v.who.May(access.Read), isStatus(err, http.StatusForbidden):
		v.who = access.Principal{} // it does not come in
		return p.render(v, http.StatusUnprocessableEntity, "login", "Sign in", loginPage{next, "The token may not read: pages need the scope read."})
	case err != nil:
		return err
	}
	v.setCookie(cookieName(v.Request), v.token, sessionSeconds)
	return v.redirect(next)
}

func (p *Pages) logout(v *visit) error {
	v.setCookie(cookieName(v.Request), "", -1)
	return v.redirect("/login")
}

// local is a path of these pages to go to, from a text that may be anything.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/jobs"
	}
	return u.String()
}

// themes are what the switch offers; auto is what the browser prefers.
func themes() []string { return []string{"auto", "light", "dark"} }

const themeCookie = "slipway-theme"

// theme is the one that was chosen, "" for what the browser prefers.
func theme(r *http.Request) string {
	c, err := r.Cookie(themeCookie)
	if err != nil || c.Value != "light" && c.Value != "dark" {
		return ""
	}
	return c.Value
}

func (p *Pages) setTheme(v *visit) error {
	seconds := 365 * 24 * 60 * 60
	chosen := v.PostFormValue("theme")
	if chosen != "light" && chosen != "dark" {
		seconds = -1
	}
	v.setCookie(themeCookie, chosen, seconds)
	return v.redirect(local(v.PostFormValue("next")))
}

// redirect sends the browser to another page. htmx follows only what it is told to.
func (v *visit) redirect(to string) error {
	v.sent = true
	if v.Request.Header.Get("HX-Request") != "" {
		v.ResponseWriter.Header().Set("HX-Redirect", to)
		v.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.ResponseWriter, v.Request, to, http.StatusSeeOther)
	return nil
}

// toLogin sends a visitor without a valid token to the form, and back afterwards.
func (v *visit) toLogin() error {
	next := "/jobs"
	if v.Method == http.MethodGet && v.Request.Header.Get("HX-Request") == "" {
		next = v.URL.RequestURI()
	}
	return v.redirect(fmt.Sprintf("/login?%s", url.Values{"next": {next}}.Encode()))
}
