package pages

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/slipway-farm/slipway/internal/access"
	"github.com/slipway-farm/slipway/internal/api"
)

// visit is a request for a page, and the way to answer it.
type visit struct {
	http.ResponseWriter
	*http.Request
	pages *Pages
	// who visits, and the text of the token, "" where none is asked for.
	who   access.Principal
	token string
	// sent is true when the answer has begun.
	sent bool
}

// question is one to the API. The path is escaped.
type question struct {
	method, path string
	query        url.Values
	body         any
}

func get(path string, query url.Values) question { return question{http.MethodGet, path, query, nil} }

// request makes the request that the visitor could have sent to the API.
func (v *visit) request(ctx context.Context, q question) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if q.body != nil {
		raw, err := json.Marshal(q.body)
		if err != nil {
			return nil, fmt.Errorf("encode a question to the API: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	target := q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("ask the API: %w", err)
	}
	// The trail tells from where, and an API that asks for no token looks at who leads here.
	req.RemoteAddr, req.Host, req.TLS = v.RemoteAddr, v.Host, v.TLS
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Range", "If-Range", "If-None-Match"} {
		if value := v.Request.Header.Get(name); value != "" {
			req.Header.Set(name, value)
		}
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	return req, nil
}

// ask asks the API and reads its answer. An answer that reports a problem is an
// *api.Problem.
func (v *visit) ask(q question, into any) error {
	req, err := v.request(v.Context(), q)
	if err != nil {
		return err
	}
	for _, name := range []string{"Range", "If-Range", "If-None-Match"} {
		req.Header.Del(name)
	}
	a := &kept{header: http.Header{}}
	if err := v.serve(a, req); err != nil {
		return err
	}
	if a.status >= http.StatusMultipleChoices {
		return problemIn(a.body.Bytes(), a.status)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(a.body.Bytes(), into); err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", q.method, q.path, err)
	}
	return nil
}

// problemIn is the problem that an answer reports.
func problemIn(body []byte, status int) error {
	p := &api.Problem{Status: status}
	if err := json.Unmarshal(body, p); err != nil {
		return fmt.Errorf("the API answered with status %d: %w", status, err)
	}
	return p
}

// hand passes a question's answer to the browser as it is.
func (v *visit) hand(q question) error {
	req, err := v.request(v.Context(), q)
	if err != nil {
		return err
	}
	v.sent = true
	if v.serve(v.ResponseWriter, req) != nil {
		panic(http.ErrAbortHandler) // the browser has to see that it does not have all
	}
	return nil
}

// errCutOff is the error of an answer of the API that broke off.
var errCutOff = errors.New("the answer of the API broke off")

// serve has the API answer. One that breaks off there is a panic of its handler, which ends
// the process where no server is around it.
func (v *visit) serve(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if e := recover(); e == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
			err = errCutOff
		} else if e != nil {
			err = fmt.Errorf("the API panicked: %v", e)
		}
	}()
	v.pages.API.ServeHTTP(w, r)
	return nil
}

// stream asks the API and has read take the answer while it comes; live answers are handed
// over piece by piece. What the API does for it has ended when stream returns.
func (v *visit) stream(q question, live bool, read func(io.Reader) error) error {
	ctx, cancel := context.WithCancel(v.Context())
	defer cancel()
	req, err := v.request(ctx, q)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	a := &piped{header: http.Header{}, pipe: bufio.NewWriterSize(w, 64<<10), live: live, began: make(chan struct{})}
	var api sync.WaitGroup
	api.Go(func() {
		err := v.serve(a, req)
		a.WriteHeader(http.StatusOK)
		_ = a.pipe.Flush()        // the reader has gone if this fails
		_ = w.CloseWithError(err) // nil is the end
	})
	defer api.Wait()
	defer func() {
		cancel()
		_ = r.Close()
	}()
	<-a.began
	if a.status >= http.StatusMultipleChoices {
		body, err := io.ReadAll(io.LimitReader(r, 64<<10))
		if err != nil {
			return fmt.Errorf("read a problem: %w", err)
		}
		return problemIn(body, a.status)
	}
	return read(r)
}

// kept is an answer that is kept whole.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *kept) Header() http.Header { return a.header }

func (a *kept) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *kept) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// piped is an answer that is read while it comes. It belongs to the goroutine that answers;
// its status may be read once began is closed.
type piped struct {
	header http.Header
	pipe   *bufio.Writer
	live   bool
	status int
	began  chan struct{}
}

func (a *piped) Header() http.Header { return a.header }

func (a *piped) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		close(a.began)
	}
}

func (a *piped) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.pipe.Write(p)
}

// FlushError implements what http.ResponseController looks for.
func (a *piped) FlushError() error {
	if !a.live {
		return nil
	}
	return a.pipe.Flush()
}

// isStatus reports whether the API answered with a status.
func isStatus(err error, status int) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Status == status
}

func notFound(what string) error {
	return &api.Problem{Type: "/problems/not_found", Title: "there is no such thing", Status: http.StatusNotFound, Detail: what}
}

func badForm(what string) error {
	return &api.Problem{Type: "/problems/body_invalid", Title: "the form cannot be read", Status: http.StatusBadRequest, Detail: what}
}
