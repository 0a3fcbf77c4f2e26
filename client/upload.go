package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// UploadOptions say what is known of a tar.
type UploadOptions struct {
	// Dockerfile is its path inside the tar, "" for Dockerfile. The server looks whether it is
	// there.
	Dockerfile string
	// Digest is sha256:<hex> of the uncompressed tar, "" when the caller does not know it.
	Digest string
}

// Stored is a context that the farm has, ready to be put into a document.
type Stored struct {
	Context
	// Existed is true when the farm had it before.
	Existed  bool     `json:"existed"`
	Warnings []string `json:"warnings,omitempty"`
}

// Upload sends a tar, plain or compressed with what the farm knows, unless the farm has it. It
// asks first when the digest is given, or when tar is an io.Seeker that is plain or gzip and
// can be read twice. It sends pieces, so that a connection that breaks costs one of them at
// most. The farm keeps what no job names for a day at least.
func (c *Client) Upload(ctx context.Context, tar io.Reader, o UploadOptions) (Stored, error) {
	if o.Digest == "" {
		digest, err := digestFirst(ctx, tar)
		if err != nil {
			return Stored{}, err
		}
		o.Digest = digest
	}
	if o.Digest != "" {
		stored, err := c.Stored(ctx, o.Digest)
		if err == nil || !notFound(err) {
			return stored, err
		}
	}
	u := upload{client: c, options: o, hash: sha256.New()}
	return u.send(ctx, tar)
}

// Stored asks whether the farm has the tar with this digest, which is sha256:<hex> of it
// uncompressed. When it has not, the error is a [*Problem] with status 404.
func (c *Client) Stored(ctx context.Context, digest string) (Stored, error) {
	var stored Stored
	_, err := c.document(ctx, call{method: http.MethodGet, path: "/v1/contexts/" + url.PathEscape(digest), again: true}, &stored)
	return stored, err
}

func notFound(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == http.StatusNotFound
}

// upload is a tar that goes in pieces.
type upload struct {
	client  *Client
	options UploadOptions
	// path is where the upload is, and sent how much the server has, in bytes.
	path string
	sent int64
	// hash is of what was sent, plain whether that began as a tar.
	hash   hash.Hash
	plain  bool
	stored Stored
}

// lastAnswer is how long the server may take to store a context whose last piece has come.
const lastAnswer = 30 * time.Minute

// send reads the tar piece by piece, one ahead: the last has to be known as such.
func (u *upload) send(ctx context.Context, tar io.Reader) (Stored, error) {
	piece, n, err := u.read(tar, make([]byte, u.client.piece))
	u.plain = isTar(piece[:n])
	spare := make([]byte, u.client.piece)
	for err == nil {
		var next []byte
		m := 0
		if n == len(piece) {
			if next, m, err = u.read(tar, spare); err != nil {
				break
			}
		}
		u.hash.Write(piece[:n])
		last := m == 0
		if u.path == "" && !last {
			// The first request of many is an empty one: what breaks later can be resumed.
			if err = u.piece(ctx, nil, false); err != nil {
				break
			}
		}
		if err = u.piece(ctx, piece[:n], last); err != nil || last {
			break
		}
		piece, spare, n = next, piece, m
	}
	if err != nil {
		u.drop(ctx)
		return Stored{}, fmt.Errorf("send the tar: %w", err)
	}
	return u.stored, nil
}

// read fills a piece, which is the last when it is not full.
func (u *upload) read(tar io.Reader, piece []byte) ([]byte, int, error) {
	n, err := io.ReadFull(tar, piece)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return piece, n, fmt.Errorf("read it: %w", err)
	}
	return piece, n, nil
}

// piece sends the next piece, as much of it as the server does not have yet.
func (u *upload) piece(ctx context.Context, piece []byte, last bool) error {
	end := u.sent + int64(len(piece))
	broken := false
	t := u.client.tries()
	return t.do(ctx, true, func() error {
		if broken && u.path != "" {
			before := u.sent
			if done, err := u.resume(ctx, end, last); done || err != nil {
				return err
			}
			if u.sent > before {
				t.progress()
			}
			if u.sent == end && !last {
				return nil
			}
		}
		err := u.once(ctx, piece[int64(len(piece))-(end-u.sent):], last)
		if p, ok := errors.AsType[*Problem](err); ok && broken && p.Kind() == "upload_offset_wrong" {
			err = errors.New(p.Error()) // more of the broken request came than was known
		}
		broken = true
		return err
	})
}

// once sends the rest of a piece once.
func (u *upload) once(ctx context.Context, rest []byte, last bool) error {
	r := call{method: http.MethodPatch, path: u.path, body: rest}.with("Content-Type", "application/x-tar").with("Upload-Complete", "?0")
	if last {
		r = r.with("Upload-Complete", "?1")
	}
	if u.path == "" {
		r.method, r.path = http.MethodPost, "/v1/uploads"
		r.query = url.Values{"dockerfile": {cmp.Or(u.options.Dockerfile, "Dockerfile")}}
		if u.options.Digest != "" {
			r.query.Set("digest", u.options.Digest)
		}
	} else {
		r = r.with("Upload-Offset", strconv.FormatInt(u.sent, 10))
	}
	if last {
		r.wait = lastAnswer
	}
	header, err := u.client.once().document(ctx, r, &u.stored)
	if u.path == "" {
		u.path = header.Get("Location")
	}
	if err == nil {
		u.sent += int64(len(rest))
	}
	return err
}

// once is a client that tries once: its caller tries again.
func (c *Client) once() *Client {
	o := *c
	o.Patience = 0
	return &o
}

// resume finds out how much has come, and whether all that was to come has.
func (u *upload) resume(ctx context.Context, end int64, last bool) (done bool, err error) {
	header, err := u.client.once().document(ctx, call{method: http.MethodHead, path: u.path}, nil)
	if last && notFound(err) {
		return u.ended(ctx, err)
	}
	if err != nil {
		return false, err
	}
	offset, err := strconv.ParseInt(header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset > end || offset < u.sent {
		return false, &unreadable{fmt.Errorf("resume the upload: the server has %q bytes; want %d to %d", header.Get("Upload-Offset"), u.sent, end)}
	}
	u.sent = offset
	return false, nil
}

// ended finds a context whose last piece came, and whose answer did not.
func (u *upload) ended(ctx context.Context, gone error) (bool, error) {
	digest := u.options.Digest
	if digest == "" && u.plain {
		digest = written(u.hash)
	}
	if digest == "" {
		return false, &unreadable{fmt.Errorf("the server's answer to the last piece was lost: %w", gone)}
	}
	stored, err := u.client.once().Stored(ctx, digest)
	if err != nil {
		return false, err
	}
	u.stored = stored
	return true, nil
}

// drop gives up what was sent. What cannot be given up now goes by itself after a day.
func (u *upload) drop(ctx context.Context) {
	if u.path == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = u.client.once().document(ctx, call{method: http.MethodDelete, path: u.path}, nil)
}
