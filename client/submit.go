package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Options say what to make of a tar.
type Options struct {
	// Document says it as a job document, whose context is the tar.
	Document Document
	// Parameters say it in the words of the flags of enqueue submit, such as tag, run and
	// output-path; they are added to Document. A switch has the value true.
	Parameters url.Values
}

// Build sends a tar, which may be compressed, and submits a job that builds it, or what o asks
// for. It returns as soon as the farm has the job: see [Client.Wait] and [Client.Follow]. The
// tar is sent as [Client.Upload] does it.
func (c *Client) Build(ctx context.Context, tar io.Reader, o Options) (Job, error) {
	d := o.Document
	if d.Context != nil {
		return Job{}, errors.New("build a tar: the document has a context of its own; use Submit")
	}
	build := Build{}
	if d.Build != nil {
		build = *d.Build
	}
	d.Build = &build
	dockerfile := build.Dockerfile
	if file := o.Parameters.Get("file"); file != "" {
		dockerfile = file
	}
	stored, err := c.Upload(ctx, tar, UploadOptions{Dockerfile: dockerfile})
	if err != nil {
		return Job{}, err
	}
	d.Context = &stored.Context
	return c.submit(ctx, d, o.Parameters)
}

// Submit submits a job and returns as soon as the farm has it.
func (c *Client) Submit(ctx context.Context, d Document) (Job, error) { return c.submit(ctx, d, nil) }

func (c *Client) submit(ctx context.Context, d Document, params url.Values) (Job, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return Job{}, fmt.Errorf("encode the job document: %w", err)
	}
	r := call{method: http.MethodPost, path: "/v1/jobs", query: params, body: raw, again: true}.with("Content-Type", "application/json")
	if d.IdempotencyKey == "" && !params.Has("idempotency-key") {
		r = r.with("Idempotency-Key", newKey())
	}
	return c.job(ctx, r)
}

// newKey names one submission, so that the farm has it once however often it comes.
func newKey() string { return "client-" + rand.Text() }

// Job reads a job.
func (c *Client) Job(ctx context.Context, id string) (Job, error) {
	return c.job(ctx, call{method: http.MethodGet, path: jobPath(id), again: true})
}

// jobPath is where a job is, or something of it.
func jobPath(id string, more ...string) string {
	path := "/v1/jobs/" + url.PathEscape(id)
	for _, part := range more {
		path += "/" + part
	}
	return path
}

// oneWait is how long one request waits: what is between client and server often cuts
// connections on which nothing comes for a minute.
const oneWait = 50 * time.Second

// Wait waits until a job has ended, however long that takes; ctx bounds it. A service has
// ended, as a job, once it is ready. How the job ended is in its State and Result: a job that
// failed is no error.
func (c *Client) Wait(ctx context.Context, id string) (Job, error) {
	return wait(ctx, c, jobPath(id), func(j Job) bool { return j.State.Ended() })
}

// wait reads what is at a path until over is true of it.
func wait[T any](ctx context.Context, c *Client, path string, over func(T) bool) (T, error) {
	query := url.Values{"wait": {strconv.Itoa(int(oneWait / time.Second))}}
	for {
		began := time.Now()
		var got T
		_, err := c.document(ctx, call{method: http.MethodGet, path: path, query: query, again: true, wait: oneWait}, &got)
		if err != nil || over(got) {
			return got, err
		}
		if time.Since(began) < time.Second { // a server that ends does not wait
			if err := sleep(ctx, time.Second, errors.New("waiting for "+path)); err != nil {
				return got, err
			}
		}
	}
}

// Cancel ends a job that waits, and asks for the end of one that runs, or of the service that
// it keeps. A job that is cancelled already is returned as it is; one that has ended otherwise
// is a [*Problem] of kind job_finished.
func (c *Client) Cancel(ctx context.Context, id string) (Job, error) {
	job, err := c.job(ctx, call{method: http.MethodPost, path: jobPath(id, "cancel"), again: true})
	if p, ok := errors.AsType[*Problem](err); ok && p.Kind() == "job_finished" {
		// The answer to the first request may have been lost.
		if now, readErr := c.Job(ctx, id); readErr == nil && now.State == Cancelled {
			return now, nil
		}
	}
	return job, err
}

// Retry submits the document of a job that has ended once more, and returns the new job.
func (c *Client) Retry(ctx context.Context, id string) (Job, error) {
	return c.job(ctx, call{method: http.MethodPost, path: jobPath(id, "retry"), again: true}.with("Idempotency-Key", newKey()))
}

// Rerun is Retry with the bases of the build as the registries have them now.
func (c *Client) Rerun(ctx context.Context, id string) (Job, error) {
	return c.job(ctx, call{method: http.MethodPost, path: jobPath(id, "rerun"), again: true}.with("Idempotency-Key", newKey()))
}
