package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client sends requests to one server. It is safe for concurrent use; its fields are set
// before its first request.
type Client struct {
	// HTTP sends the requests. It must have no Timeout, because logs are followed for as long
	// as jobs take, and should follow no redirects, which would make other requests of some.
	HTTP *http.Client
	// Patience is for how long a call tries again while nothing comes of it. New sets two
	// minutes; 0 tries once.
	Patience time.Duration

	server, token string
	// silence is how long a log may send nothing: the server sends something every 15 seconds.
	silence time.Duration
	// answer is how long a request may take that has nothing to wait for.
	answer time.Duration
	// piece is how much of a context goes in one request, in bytes.
	piece int
	// first is how long the first pause before another try is.
	first time.Duration
}

// New makes a client of the server at a URL such as https://farm.example.com:8470, with a
// token that enqueue tokens create printed, "" for a server that asks for none. What is wrong
// with either is reported by the first request.
func New(server, token string) *Client {
	return &Client{
		HTTP:     &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Patience: 2 * time.Minute,
		server:   strings.TrimRight(server, "/"), token: token,
		silence: time.Minute, answer: time.Minute, piece: 8 << 20, first: 200 * time.Millisecond,
	}
}

// call is a request. It may be sent more than once.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
	// again is true when sending it twice does what sending it once does.
	again bool
	// wait is how long the server may take to answer, beside what the network takes.
	wait time.Duration
}

// with adds a header.
func (r call) with(name, value string) call {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
	return r
}

// slowest is how slow a body may travel, in bytes a second.
const slowest = 16 << 10

// document does a call and reads the answer into doc, nil for an answer that has none.
func (c *Client) document(ctx context.Context, r call, doc any) (http.Header, error) {
	var header http.Header
	err := c.tries().do(ctx, r.again, func() error {
		limit := c.answer + r.wait + time.Duration(len(r.body)/slowest)*time.Second
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		resp, err := c.send(ctx, r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		header = resp.Header
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if doc == nil || len(raw) == 0 {
			return nil
		}
		if err := json.Unmarshal(raw, doc); err != nil {
			return &unreadable{fmt.Errorf("read the answer: %w", err)}
		}
		return nil
	})
	if err != nil {
		return header, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	return header, nil
}

// job does a call that is answered with a job.
func (c *Client) job(ctx context.Context, r call) (Job, error) {
	var job Job
	_, err := c.document(ctx, r, &job)
	return job, err
}

// send sends a request once. Its error is a *Problem, or one of the connection.
func (c *Client) send(ctx context.Context, r call) (*http.Response, error) {
	target := c.server + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err == nil && (req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https") {
		err = fmt.Errorf("the server is %q; want a URL such as https://farm.example.com", c.server)
	}
	if err != nil {
		return nil, &unreadable{err}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemIn(resp)
}

// withoutURL takes off what the caller says anyway.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// unreadable is an error that another try does not mend.
type unreadable struct{ error }

func (e *unreadable) Unwrap() error { return e.error }
