// Package s3source downloads s3://bucket/key contexts. Which buckets there are,
// where, and how to log in is the operator's: a reference holds names only. The
// worker's context fetcher calls it.
package s3source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

// Buckets are buckets behind one profile.
type Buckets struct {
	// Names with * for any characters.
	Names []string
	s3conn.Profile
}

// Source is an contexts.Source of the scheme s3. It is safe for concurrent use.
type Source struct {
	buckets  []buckets
	transfer download.Transfer
}

type buckets struct {
	names  []string
	client *s3conn.Client
}

var _ contexts.Source = (*Source)(nil)

// New returns a source of the buckets. Of two that match, the first serves.
// transfer sets how a broken transfer goes on; its Open is not used.
func New(list []Buckets, transfer download.Transfer) (*Source, error) {
	s := &Source{transfer: transfer}
	for _, b := range list {
		client, err := s3conn.Open(b.Profile)
		if err != nil {
			return nil, fmt.Errorf("buckets %s: %w", strings.Join(b.Names, ", "), err)
		}
		s.buckets = append(s.buckets, buckets{b.Names, client})
	}
	return s, nil
}

// Schemes implements contexts.Source.
func (*Source) Schemes() []string { return []string{"s3"} }

// Open implements contexts.Source.
func (s *Source) Open(ctx context.Context, c jobs.Context) (io.ReadCloser, error) {
	bucket, key, err := c.Object()
	if err != nil {
		return nil, jobs.Fail(jobs.KindSpecInvalid, err, "write s3://bucket/key, with %23 for # and %3f for ?", "the context reference is no object in S3: %s", err)
	}
	for _, b := range s.buckets {
		if slices.ContainsFunc(b.names, func(n string) bool { return jobs.Wildcard(n, bucket) }) {
			t := s.transfer
			t.Open = (&object{client: b.client, bucket: bucket, key: key}).open
			return t.Start(ctx)
		}
	}
	return nil, jobs.Fail(jobs.KindBucketNotAllowed, nil, "ask the operator of the worker which buckets are open", "contexts from the bucket %q are not allowed", bucket)
}

// object is one object on its way.
type object struct {
	client      *s3conn.Client
	bucket, key string
	etag        string
}

func (o *object) open(ctx context.Context, offset int64) (download.Part, error) {
	body, size, etag, err := o.client.Get(ctx, o.bucket, o.key, offset, o.etag)
	if err == nil {
		o.etag = etag
		return download.Part{Body: body, Offset: offset, Size: size}, nil
	}
	name := "s3://" + o.bucket + "/" + o.key
	switch s3conn.Means(err) {
	case s3conn.NotFound, s3conn.NoBucket:
		return download.Part{}, jobs.Fail(jobs.KindContextNotFound, err, "check bucket and key", "there is nothing at %s", name)
	case s3conn.Denied:
		return download.Part{}, jobs.Fail(jobs.KindContextDenied, err, "check bucket and key, or ask the operator to give the worker access", "%s cannot be had: the server denies access", name)
	case s3conn.Unknown:
		return download.Part{}, jobs.Fail(jobs.KindContextFetch, err, "ask the operator to look at the worker's credentials", "the S3 server of %s does not know the worker's credentials", name)
	case s3conn.Changed:
		return download.Part{}, jobs.Fail(jobs.KindContextFetch, err, "submit again when the context does not change any more", "the context changed at its source while it was fetched")
	}
	return download.Part{}, &download.RetryAfter{After: download.ParseRetryAfter(s3conn.RetryAfter(err)), Err: errors.Join(errors.New(s3conn.Said(err)), err)}
}
