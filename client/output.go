package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Output opens a regular file that a job left, by its path in the container. When the
// connection breaks, reading goes on where it was. The caller closes it.
func (c *Client) Output(ctx context.Context, id, file string) (io.ReadCloser, error) {
	return c.open(ctx, call{method: http.MethodGet, path: outputPath(id, file), again: true})
}

// OutputTar opens the tar of a whole output, by its path in the document.
func (c *Client) OutputTar(ctx context.Context, id, output string) (io.ReadCloser, error) {
	return c.open(ctx, call{method: http.MethodGet, path: outputPath(id, output), query: url.Values{"tar": {"true"}}, again: true})
}

func outputPath(id, file string) string {
	parts := strings.Split(strings.TrimPrefix(path.Clean("/"+file), "/"), "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return jobPath(id, "outputs", strings.Join(parts, "/"))
}

// download reads an answer over as many connections as it takes.
type download struct {
	client *Client
	ctx    context.Context //nolint:containedctx // that of the call that opened it
	call   call
	// tag tells whether it is still the same, at is how much of it was read, in bytes.
	tag   string
	at    int64
	body  io.ReadCloser
	tries *tries
}

func (c *Client) open(ctx context.Context, r call) (io.ReadCloser, error) {
	d := &download{client: c, ctx: ctx, call: r, tries: c.tries()}
	if err := d.tries.do(ctx, true, d.connect); err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	return d, nil
}

// connect asks for what has not been read yet.
func (d *download) connect() error {
	r := d.call
	if d.at > 0 {
		r = r.with("Range", fmt.Sprintf("bytes=%d-", d.at)).with("If-Match", d.tag)
	}
	resp, err := d.client.send(d.ctx, r)
	if err != nil {
		return err
	}
	if d.at > 0 && resp.StatusCode != http.StatusPartialContent {
		return errors.Join(&unreadable{errors.New("the server cannot go on in the middle")}, resp.Body.Close())
	}
	d.body, d.tag = resp.Body, resp.Header.Get("ETag")
	return nil
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		n, err := d.body.Read(p)
		d.at += int64(n)
		if n > 0 {
			d.tries.progress()
		}
		if err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		if n > 0 {
			return n, nil // the next Read finds the error again
		}
		if d.tag == "" {
			return 0, fmt.Errorf("read the output: %w", err)
		}
		if err := d.resume(err); err != nil {
			return 0, fmt.Errorf("read the output: %w", err)
		}
	}
}

// resume connects again after an error.
func (d *download) resume(err error) error {
	_ = d.body.Close() // it is broken
	if err := d.tries.failed(d.ctx, true, err); err != nil {
		return err
	}
	return d.tries.do(d.ctx, true, d.connect)
}

// Close implements io.Closer.
func (d *download) Close() error { return d.body.Close() }
