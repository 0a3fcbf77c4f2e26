// Package httpsource downloads https:// and, where the operator allows it,
// http:// contexts. Every connection is made through a netguard.Guard, whatever
// a name resolves to and wherever a redirect leads; credentials are the
// operator's, chosen by name and sent to their own hosts only. The worker's
// context fetcher calls it.
package httpsource

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
)

// Options say where contexts may come from.
type Options struct {
	// Schemes are those to serve: https, http, or both.
	Schemes []string
	// Guard decides about addresses.
	Guard netguard.Guard
	// Hosts that are allowed, with * for any characters; none means all.
	Hosts []string
	// Credentials that jobs may name.
	Credentials map[string]Credential
	// Transfer sets how a broken transfer goes on; its Open is not used.
	Transfer download.Transfer
	// Resolver and RootCAs replace those of the system unless they are nil.
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
}

// Credential is what is sent to some hosts.
type Credential struct {
	// Hosts by name, with a port such as host:8443 unless it is 443.
	Hosts []string
	// Exactly one is set: a file with a token, or one with user:password. It is
	// read for each transfer, so that it can be renewed.
	BearerFile, BasicFile string
}

// Source is an contexts.Source. It is safe for concurrent use.
type Source struct {
	opts      Options
	transport *http.Transport
}

var _ contexts.Source = (*Source)(nil)

// pingAfter is how long an HTTP/2 connection may be silent before it is asked
// whether it is alive, and how long it may take to answer.
const pingAfter = 5 * time.Second

// maxRedirects is how often a server may send the worker elsewhere.
const maxRedirects = 3

// New returns a source. It opens nothing yet.
func New(opts Options) *Source {
	dialer := opts.Guard.Dialer()
	dialer.Resolver = opts.Resolver
	return &Source{opts: opts, transport: &http.Transport{
		Proxy:                  nil, // a proxy would dial what the guard forbids
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: opts.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // the archive is wanted as it is
		ForceAttemptHTTP2:      true,
		// A connection that died is noticed before the transfer on it has stalled.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}}
}

// Schemes implements contexts.Source.
func (s *Source) Schemes() []string { return s.opts.Schemes }

// Open implements contexts.Source.
func (s *Source) Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
	u, err := url.Parse(c.Ref)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, jobs.Fail(jobs.KindSpecInvalid, nil, "write https://host/path, without user and password", "the context reference is no URL that the worker takes")
	}
	r := request{source: s, url: u, name: redact(u)}
	if err := r.allowed(u); err != nil {
		return nil, err
	}
	if c.Credential != "" {
		if r.auth, err = s.auth(c.Credential, place(u)); err != nil {
			return nil, err
		}
		r.authHosts = s.opts.Credentials[c.Credential].Hosts
	}
	t := s.opts.Transfer
	t.Open = r.open
	return t.Start(ctx)
}

// place is a URL's host, with its port unless that is the one of https.
func place(u *url.URL) string {
	if port := u.Port(); port != "" && port != "443" {
		return u.Host
	}
	return u.Hostname()
}

// redact is a URL without what may be secret: the query is often a signature.
func redact(u *url.URL) string {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.RawQuery != "" {
		return clean.String() + "?..."
	}
	return clean.String()
}

// auth reads a credential and returns its header.
func (s *Source) auth(name, host string) (string, error) {
	cred, ok := s.opts.Credentials[name]
	if !ok {
		return "", jobs.Fail(jobs.KindCredentialInvalid, nil, "ask the operator which there are", "the worker has no credential %q", name)
	}
	if !slices.Contains(cred.Hosts, host) { // a host with its port, unless that is https's
		return "", jobs.Fail(jobs.KindCredentialInvalid, nil, "name the one for this host, or ask the operator", "the credential %q is not for the host %q", name, host)
	}
	file := cred.BearerFile
	if file == "" {
		file = cred.BasicFile
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", jobs.Fail(jobs.KindContextFetch, err, "ask the operator to look at the worker's credentials", "the worker cannot read its credential %q", name)
	}
	secret := strings.TrimSpace(string(text))
	if cred.BearerFile != "" {
		return "Bearer " + secret, nil
	}
	user, password, _ := strings.Cut(secret, ":")
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization"), nil
}

// request is one reference on its way.
type request struct {
	source *Source
	url    *url.URL
	// name is the reference for messages.
	name string
	// auth is the header for authHosts, "" for none.
	auth      string
	authHosts []string
	// validator of the first answer: what comes later has to be the same thing.
	validator string
}

// allowed judges the URL itself, first and after every redirect.
func (r *request) allowed(u *url.URL) error {
	host := u.Hostname()
	switch {
	case !slices.Contains(r.source.opts.Schemes, u.Scheme):
		return jobs.Fail(jobs.KindSchemeNotAllowed, nil, "use one of: "+strings.Join(r.source.opts.Schemes, ", "), "contexts of scheme %q are not allowed", u.Scheme)
	case netguard.OddNumber(host):
		return forbidden(nil)
	case len(r.source.opts.Hosts) > 0 && !slices.ContainsFunc(r.source.opts.Hosts, func(p string) bool { return jobs.Wildcard(p, host) }):
		return jobs.Fail(jobs.KindHostNotAllowed, nil, "use "+strings.Join(r.source.opts.Hosts, ", ")+", or ask the operator", "contexts from the host %q are not allowed", host)
	}
	return nil
}

// forbidden is the one message about addresses: it does not tell what is there.
func forbidden(cause error) *jobs.Failure {
	return jobs.Fail(jobs.KindForbiddenAddress, cause, "give an address on the internet, or ask the operator to allow the network", "the context reference leads to an address that contexts may not come from")
}

// open makes one request, with its redirects.
func (r *request) open(ctx context.Context, offset int64) (download.Part, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return download.Part{}, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("User-Agent", "slipway-worker")
	if offset > 0 && r.validator != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		req.Header.Set("If-Range", r.validator)
	}
	client := &http.Client{Transport: r, CheckRedirect: r.redirect}
	resp, err := client.Do(req)
	if err != nil {
		return download.Part{}, r.failure(err)
	}
	part, err := r.answer(resp, offset)
	if err != nil {
		_ = resp.Body.Close()
	}
	return part, err
}

// RoundTrip implements http.RoundTripper: the credential goes to its own hosts,
// and no host learns the URL of another.
func (r *request) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Referer")
	req.Header.Del("Authorization")
	if r.auth != "" && req.URL.Scheme == "https" && slices.Contains(r.authHosts, place(req.URL)) {
		req.Header.Set("Authorization", r.auth)
	}
	return r.source.transport.RoundTrip(req)
}

func (r *request) redirect(req *http.Request, via []*http.Request) error {
	refuse := func(why string) error {
		return jobs.Fail(jobs.KindRedirect, nil, "give the address that it leads to", "the server of %s %s", r.name, why)
	}
	switch {
	case len(via) > maxRedirects:
		return refuse(fmt.Sprintf("sends the worker elsewhere more than %d times", maxRedirects))
	case req.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https":
		return refuse("sends the worker to an address without TLS")
	case req.URL.User != nil:
		return refuse("sends the worker to an address with a user in it")
	}
	return r.allowed(req.URL)
}

// answer judges what the server said.
func (r *request) answer(resp *http.Response, offset int64) (download.Part, error) {
	said := errors.New("the server answered " + status(resp.StatusCode))
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		if r.validator == "" {
			r.validator = validator(resp.Header)
		}
		return download.Part{Body: resp.Body, Size: resp.ContentLength}, nil
	case code == http.StatusPartialContent:
		from, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if now := validator(resp.Header); !ok || from != offset || now != "" && now != r.validator {
			r.validator = "" // next time from the beginning
			return download.Part{}, &download.RetryAfter{Err: errors.New("the server answered with another part than it was asked for")}
		}
		return download.Part{Body: resp.Body, Offset: offset, Size: size}, nil
	case code == http.StatusRequestedRangeNotSatisfiable:
		r.validator = ""
		return download.Part{}, &download.RetryAfter{Err: said}
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code >= 500:
		return download.Part{}, &download.RetryAfter{After: download.ParseRetryAfter(resp.Header.Get("Retry-After")), Err: said}
	case code == http.StatusNotFound, code == http.StatusGone:
		return download.Part{}, jobs.Fail(jobs.KindContextNotFound, said, "check the address", "there is nothing at %s: %v", r.name, said)
	}
	return download.Part{}, jobs.Fail(jobs.KindContextDenied, said, "check the address, and whether it needs a credential (context.credential)", "%s cannot be had: %v", r.name, said)
}

func status(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// validator is what tells one version of a resource from another, "" when
// nothing does.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes 5-9/10".
func contentRange(s string) (from, size int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, total, found := strings.Cut(rest, "/")
	first, _, cut := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if !ok || !found || !cut || err != nil || from < 0 {
		return 0, 0, false
	}
	if total == "*" {
		return from, -1, true
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return from, size, err == nil && size > from
}

// failure tells errors that stay from those that pass.
func (r *request) failure(err error) error {
	if f, ok := errors.AsType[*jobs.Failure](err); ok {
		return f
	}
	// The URL in the client's error may hold a signature.
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, netguard.ErrForbidden):
		return forbidden(err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return jobs.Fail(jobs.KindContextNotFound, err, "check the address", "the host of %s was not found", r.name)
	case errors.As(err, &cert):
		return jobs.Fail(jobs.KindContextFetch, err, "ask the operator to look at the server's certificate", "the certificate of the server of %s is not trusted", r.name)
	}
	return fmt.Errorf("get %s: %w", r.name, err)
}
