package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/netguard"
)

const (
	// tryTime is how long a receiver may take to answer.
	tryTime = 15 * time.Second
	// maxAnswer is how much of an answer is read, and maxSaid how much of it is kept.
	maxAnswer = 4 << 10
	maxSaid   = 200
)

// Rules are what the operator allows.
type Rules struct {
	// Schemes of URLs: https, http, or both.
	Schemes []string
	// Hosts that may be called, with * for any characters; none means all.
	Hosts []string
	// Guard decides about addresses.
	Guard netguard.Guard
}

// SenderOptions replace what the system has; the zero value works.
type SenderOptions struct {
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
	// Transport makes the requests in place of connections through the guard.
	Transport http.RoundTripper
}

// Sender makes single tries. It is safe for concurrent use.
type Sender struct {
	rules  func() Rules
	secret func(name string) ([]byte, error)
	client *http.Client
}

// NewSender makes a Sender. rules are asked for each try, so that the operator can change
// them; secret returns the content of one of this process by its
// folder and name.
func NewSender(rules func() Rules, secret func(name string) ([]byte, error), o SenderOptions) *Sender {
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy: nil, // a proxy would dial what the guard forbids
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				d := rules().Guard.Dialer()
				d.Resolver = o.Resolver
				return d.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			DisableKeepAlives:      true, // each try is judged by the rules of its moment
			DisableCompression:     true, // a small answer must not become a large one
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Sender{rules, secret, &http.Client{
		Transport: transport, Timeout: tryTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// verdict is what came of a try.
type verdict struct {
	// accepted is true after an answer of 2xx, gone after 410.
	accepted, gone bool
	status         int
	said           string
	// after is how long the receiver wants to be left alone, 0 when it did not say.
	after time.Duration
}

// Send makes one try.
func (s *Sender) Send(ctx context.Context, to string, secrets []string, id string, body []byte) verdict {
	req, err := s.request(ctx, to, secrets, id, body)
	if err != nil {
		return verdict{said: jobs.Line(err.Error(), maxSaid)}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return verdict{said: jobs.Line(reason(err), maxSaid)}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status has decided already
	v := verdict{status: resp.StatusCode, said: jobs.Line(string(answer), maxSaid)}
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		v.accepted = true
		return v
	case code >= 300 && code <= 399:
		v.said = "it leads elsewhere, where calls do not follow: give the address that it leads to"
	}
	v.gone = resp.StatusCode == http.StatusGone
	v.after = download.ParseRetryAfter(resp.Header.Get("Retry-After"))
	return v
}

// request makes a signed request. Its errors are sentences for people, without the URL.
func (s *Sender) request(ctx context.Context, to string, secrets []string, id string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	if err := s.allowed(req.URL); err != nil {
		return nil, err
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", "slipway-webhooks")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	var signatures []string
	for _, name := range secrets {
		key, err := signingKey(s.secret, name)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, sign(key, id, now, body))
	}
	if len(signatures) > 0 {
		req.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	}
	return req, nil
}

// allowed judges the URL itself. What its host stands for is judged when it is dialled.
func (s *Sender) allowed(u *url.URL) error {
	r, host := s.rules(), u.Hostname()
	switch {
	case u.User != nil || host == "":
		return errors.New("the URL is none that the farm calls")
	case !slices.Contains(r.Schemes, u.Scheme):
		return fmt.Errorf("the operator allows no %s:// (webhooks.schemes in the worker's policy)", u.Scheme)
	case netguard.OddNumber(host):
		return errForbidden
	case len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(p string) bool { return jobs.Wildcard(p, host) }):
		return errors.New("the operator does not allow the host (webhooks.hosts in the worker's policy)")
	}
	return nil
}

// errForbidden does not tell what is at an address.
var errForbidden = errors.New("the operator does not allow the address (webhooks.networks in the worker's policy)")

// reason is why there was no answer, without the URL: it may be a secret.
func reason(err error) string {
	var cert *tls.CertificateVerificationError
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return fmt.Sprintf("no answer came within %s", tryTime)
		}
		err = u.Err
	}
	switch {
	case errors.Is(err, netguard.ErrForbidden):
		return errForbidden.Error()
	case errors.As(err, &cert):
		return "its certificate is not trusted: " + cert.Err.Error()
	}
	return err.Error()
}
