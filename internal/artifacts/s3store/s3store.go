// Package s3store keeps artifacts in a bucket of an S3-compatible server, under
// the digest of their content:
//
//	<prefix>sha256/ab/<hex>.zst   zstd data; the size of the content is metadata
//	<prefix>chunks/, indexes/     the other places, each with the same in it
//	<prefix>owner                 whose it is, an artifacts.Mark
//
// A blob is one request, made under the condition that it is not there yet: it
// is there whole or not at all, and a crash leaves nothing. The worker and the
// enqueue command open it.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/slipway-farm/slipway/internal/artifacts"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

// Store is an artifacts.Store in a bucket. It is safe for concurrent use.
type Store struct {
	place artifacts.Place
	*objects
}

// objects is what all places of a store have in common.
type objects struct {
	client         *s3conn.Client
	bucket, prefix string
	transfer       download.Transfer
	// want is the mark that the store has to carry, nil for any.
	want atomic.Pointer[artifacts.Mark]
}

var _ artifacts.Store = (*Store)(nil)

// sizeKey is the metadata with the size of the content.
const sizeKey = "Slipway-Size"

// tries is how often a request that may pass is made, with a pause that doubles
// from firstPause. A server may ask for a longer one.
const (
	tries        = 4
	firstPause   = 200 * time.Millisecond
	longestPause = 30 * time.Second
)

// New opens the store at a URL s3://bucket/prefix. transfer sets how a broken
// transfer goes on; its Open is not used.
func New(storeURL string, p s3conn.Profile, transfer download.Transfer) (*Store, error) {
	u, err := url.Parse(storeURL)
	if err != nil || u.Scheme != "s3" || !jobs.IsBucket(u.Host) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("open artifact store: %q is not s3://bucket/prefix, with a bucket of 3 to 63 letters a-z, digits, . and -", storeURL)
	}
	client, err := s3conn.Open(p)
	if err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	s := &Store{artifacts.Wholes, &objects{client: client, bucket: u.Host, prefix: strings.Trim(u.Path, "/"), transfer: transfer}}
	if s.prefix != "" {
		s.prefix += "/"
	}
	s.transfer.What, s.transfer.Kind = "the artifact", jobs.KindStore
	return s, nil
}

// In implements artifacts.Store.
func (s *Store) In(p artifacts.Place) artifacts.Store { return &Store{p, s.objects} }

// key is where the blob of digest is. The check keeps a stranger's digest from
// being anything else.
func (s *Store) key(digest string) (string, error) {
	if !jobs.IsDigest(digest) {
		return "", fmt.Errorf("%q is not a digest", digest)
	}
	hexa := strings.TrimPrefix(digest, "sha256:")
	return s.prefix + string(s.place) + "/" + hexa[:2] + "/" + hexa + ".zst", nil
}

// Stat implements artifacts.Store.
func (s *Store) Stat(ctx context.Context, digest string) (artifacts.Info, error) {
	key, err := s.key(digest)
	if err != nil {
		return artifacts.Info{}, err
	}
	var info minio.ObjectInfo
	err = again(ctx, func() error {
		info, err = s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
		return err
	})
	if err != nil {
		return artifacts.Info{}, s.missing(ctx, s.failure("look for artifact "+digest, err))
	}
	size, err := strconv.ParseInt(info.UserMetadata[sizeKey], 10, 64)
	if err != nil {
		return artifacts.Info{}, fmt.Errorf("look for artifact %s: %w: an object without its size", digest, artifacts.ErrNotFound)
	}
	return artifacts.Info{Blob: artifacts.Blob{Digest: digest, Size: size}, Modified: info.LastModified}, nil
}

// Open implements artifacts.Store.
func (s *Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	key, err := s.key(digest)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t, etag := s.transfer, ""
	t.Open = func(ctx context.Context, offset int64) (download.Part, error) {
		body, size, found, err := s.client.Get(ctx, s.bucket, key, offset, etag)
		if err != nil && s3conn.Means(err) != s3conn.Passing {
			return download.Part{}, download.Final(s.missing(ctx, s.failure("open artifact "+digest, err)))
		}
		if err != nil {
			return download.Part{}, &download.RetryAfter{After: download.ParseRetryAfter(s3conn.RetryAfter(err)), Err: errors.Join(errors.New(s3conn.Said(err)), err)}
		}
		etag = found
		return download.Part{Body: body, Offset: offset, Size: size}, nil
	}
	return t.Start(ctx)
}

// Put implements artifacts.Store.
func (s *Store) Put(ctx context.Context, b artifacts.Blob, data io.ReadSeeker) (made bool, err error) {
	key, err := s.key(b.Digest)
	if err != nil {
		return false, err
	}
	size, err := data.Seek(0, io.SeekEnd)
	if err != nil {
		return false, fmt.Errorf("put artifact %s: %w", b.Digest, err)
	}
	if err := s.verify(ctx); err != nil {
		return false, err
	}
	opts := minio.PutObjectOptions{
		ContentType: "application/zstd", DisableMultipart: true, SendContentMd5: true,
		UserMetadata: map[string]string{sizeKey: strconv.FormatInt(b.Size, 10)},
	}
	opts.SetMatchETagExcept("*")
	there := false
	err = again(ctx, func() error {
		if _, err := data.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := s.client.PutObject(ctx, s.bucket, key, data, size, opts)
		switch {
		case err == nil:
			return nil
		case minio.ToErrorResponse(err).StatusCode == 0: // a server that refuses before it has read all may reset the connection, and its answer is lost
			_, head := s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
			there = head == nil
		default:
			there = s3conn.Means(err) == s3conn.Changed
		}
		if there {
			return nil
		}
		return err
	})
	if there {
		return false, nil
	}
	if err != nil {
		return false, s.failure("put artifact "+b.Digest, err)
	}
	return true, nil
}

// Delete implements artifacts.Store.
func (s *Store) Delete(ctx context.Context, digest string) error {
	key, err := s.key(digest)
	if err != nil {
		return err
	}
	if err := s.verify(ctx); err != nil {
		return err
	}
	err = again(ctx, func() error { return s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}) })
	if err != nil && s3conn.Means(err) != s3conn.NotFound {
		return s.failure("delete artifact "+digest, err)
	}
	return nil
}

// List implements artifacts.Store.
func (s *Store) List(ctx context.Context, f func(artifacts.Stored) error) error {
	if err := s.verify(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing
	for o := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + string(s.place) + "/", Recursive: true}) {
		if o.Err != nil {
			return s.failure("list artifacts", o.Err)
		}
		digest := "sha256:" + strings.TrimSuffix(path.Base(o.Key), ".zst")
		if own, err := s.key(digest); err != nil || own != o.Key {
			continue // not ours: another program put it there
		}
		if err := f(artifacts.Stored{Digest: digest, Size: o.Size, Modified: o.LastModified}); err != nil {
			return fmt.Errorf("list artifacts: %w", err)
		}
	}
	return ctx.Err()
}

// Expect implements artifacts.Marked.
func (s *Store) Expect(m artifacts.Mark) { s.want.Store(&m) }

// verify makes sure that the store is the one that it has to be. A bucket is not
// taken away between this and what follows, as a mount is: it is there to tell the
// wrong bucket, and one that was emptied.
func (s *Store) verify(ctx context.Context) error {
	want := s.want.Load()
	if want == nil || *want == artifacts.AnyMark() {
		return nil
	}
	found, err := s.Mark(ctx)
	if err == nil && !want.Is(found) {
		err = artifacts.Foreign("s3://"+s.bucket+"/"+strings.TrimSuffix(s.prefix, "/"), found, *want)
	}
	return err
}

// missing is err, unless it says that there is no such blob and the store is not
// the one that could know.
func (s *Store) missing(ctx context.Context, err error) error {
	if errors.Is(err, artifacts.ErrNotFound) {
		if wrong := s.verify(ctx); wrong != nil {
			return wrong
		}
	}
	return err
}

// ownerKey is the object with the mark.
const ownerKey = "owner"

// SetMark implements artifacts.Marked. A server that knows no conditional writes
// lets the last one win; who sets a mark takes turns, see artifacts.Owner.
func (s *Store) SetMark(ctx context.Context, m artifacts.Mark, over bool) error {
	if found, err := s.Mark(ctx); err != nil || found != (artifacts.Mark{}) && !over {
		return err
	}
	opts := minio.PutObjectOptions{ContentType: "text/plain", DisableMultipart: true, SendContentMd5: true}
	if !over {
		opts.SetMatchETagExcept("*")
	}
	text := m.String()
	err := again(ctx, func() error {
		_, err := s.client.PutObject(ctx, s.bucket, s.prefix+ownerKey, strings.NewReader(text), int64(len(text)), opts)
		return err
	})
	if err != nil && s3conn.Means(err) != s3conn.Changed {
		return s.failure("write the owner of the artifact store", err)
	}
	return nil
}

// Mark implements artifacts.Marked.
func (s *Store) Mark(ctx context.Context) (artifacts.Mark, error) {
	var text []byte
	err := again(ctx, func() error {
		body, _, _, err := s.client.Get(ctx, s.bucket, s.prefix+ownerKey, 0, "")
		if err != nil {
			return err
		}
		text, err = io.ReadAll(io.LimitReader(body, artifacts.MaxMark))
		return errors.Join(err, body.Close())
	})
	switch {
	case err == nil:
		return artifacts.ParseMark(string(text)), nil
	case s3conn.Means(err) == s3conn.NotFound:
		return artifacts.Mark{}, nil
	}
	return artifacts.Mark{}, s.failure("read the owner of the artifact store", err)
}

// again makes a request until it is answered for good.
func again(ctx context.Context, request func() error) error {
	for i, pause := 1, firstPause; ; i, pause = i+1, 2*pause {
		err := request()
		if err == nil || i == tries || s3conn.Means(err) != s3conn.Passing || ctx.Err() != nil {
			return err
		}
		wait := max(pause, min(download.ParseRetryAfter(s3conn.RetryAfter(err)), longestPause))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failure says what an error means for a store.
func (s *Store) failure(what string, err error) error {
	switch s3conn.Means(err) {
	case s3conn.NotFound:
		return fmt.Errorf("%s: %w", what, artifacts.ErrNotFound)
	case s3conn.NoBucket:
		return &artifacts.StoreError{Err: fmt.Errorf("%s: %w", what, err), Message: fmt.Sprintf("there is no bucket %q for the artifact store", s.bucket), Hint: "make the bucket, or name another one with --store (SLIPWAY_STORE)"}
	case s3conn.Denied:
		return fmt.Errorf("%s: %w: %w", what, fs.ErrPermission, err)
	case s3conn.Unknown:
		return &artifacts.StoreError{Err: fmt.Errorf("%s: %w", what, err), Message: "the S3 server of the artifact store does not know these credentials", Hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_REGION if it wants one"}
	}
	if minio.IsNetworkOrHostDown(err, false) {
		return &artifacts.StoreError{Err: fmt.Errorf("%s: %w", what, err), Message: fmt.Sprintf("the S3 server of the artifact store cannot be reached at %s", s.client.EndpointURL().Host), Hint: "try again; if it stays, check AWS_ENDPOINT_URL_S3 and the server"}
	}
	return fmt.Errorf("%s: %w", what, err)
}
