// Package s3conn connects to servers that speak S3 and says what their errors
// mean. The S3 context source and the S3 artifact store share it; endpoint and
// credentials come from the operator, never from a job.
package s3conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Profile is how to reach a server.
type Profile struct {
	// Endpoint is a URL such as https://s3.example.com; "" is Amazon's.
	Endpoint string
	Region   string
	// AccessKeyFile and SecretKeyFile hold one line each. Without them the
	// usual places are asked: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
	// ~/.aws/credentials, the instance's role.
	AccessKeyFile, SecretKeyFile string
}

// Environment is the profile in the variables that S3 programs share.
func Environment(getenv func(string) string) Profile {
	first := func(names ...string) string {
		for _, n := range names {
			if v := getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	return Profile{Endpoint: first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), Region: first("AWS_REGION", "AWS_DEFAULT_REGION")}
}

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	*minio.Client
	core minio.Core
}

// Open makes a client; it connects with the first request. Requests are not
// repeated: callers know better what to do.
func Open(p Profile) (*Client, error) {
	endpoint := p.Endpoint
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("open S3 client: %q is not a URL such as https://s3.example.com", endpoint)
	}
	creds := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	if p.AccessKeyFile != "" {
		files := keyFiles{p.AccessKeyFile, p.SecretKeyFile}
		if _, err := files.Retrieve(); err != nil { // now is the time to say so
			return nil, fmt.Errorf("open S3 client: %w", err)
		}
		creds = credentials.New(files)
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("open S3 client: %w", err)
	}
	transport.ResponseHeaderTimeout = 30 * time.Second
	opts := &minio.Options{Creds: creds, Secure: u.Scheme == "https", Transport: busyTransport{transport}, Region: p.Region, MaxRetries: 1}
	if p.Endpoint != "" {
		opts.BucketLookup = minio.BucketLookupPath // the way that every server knows
		if opts.Region == "" {
			opts.Region = "us-east-1"
		}
	}
	c, err := minio.New(u.Host, opts)
	if err != nil {
		return nil, fmt.Errorf("open S3 client: %w", err)
	}
	return &Client{c, minio.Core{Client: c}}, nil
}

// keyFiles is a credentials.Provider that reads its files for each request, so
// that they can be renewed in place.
type keyFiles struct{ access, secret string }

// Retrieve implements credentials.Provider.
func (k keyFiles) Retrieve() (credentials.Value, error) {
	access, err := line(k.access)
	if err != nil {
		return credentials.Value{}, err
	}
	secret, err := line(k.secret)
	return credentials.Value{AccessKeyID: access, SecretAccessKey: secret, SignerType: credentials.SignatureV4}, err
}

// RetrieveWithCredContext implements credentials.Provider.
func (k keyFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired implements credentials.Provider.
func (keyFiles) IsExpired() bool { return true }

func line(file string) (string, error) {
	text, err := os.ReadFile(file)
	return strings.TrimSpace(string(text)), err
}

// Get downloads an object from an offset on. etag is that of the version that
// is meant, "" for any; the one that was found is returned. size is how many
// bytes the whole object has.
func (c *Client) Get(ctx context.Context, bucket, key string, offset int64, etag string) (body io.ReadCloser, size int64, found string, err error) {
	var opts minio.GetObjectOptions
	if offset > 0 {
		err = opts.SetRange(offset, 0)
	}
	if err == nil && etag != "" {
		err = opts.SetMatchETag(etag)
	}
	if err != nil {
		return nil, 0, "", fmt.Errorf("get S3 object: %w", err)
	}
	body, info, headers, err := c.core.GetObject(ctx, bucket, key, opts)
	if err != nil {
		return nil, 0, "", fmt.Errorf("get S3 object: %w", err)
	}
	if from := fmt.Sprintf("bytes %d-", offset); offset > 0 && !strings.HasPrefix(headers.Get("Content-Range"), from) || etag != "" && info.ETag != etag {
		_ = body.Close()
		return nil, 0, "", fmt.Errorf("get S3 object: %w", errOther)
	}
	return body, offset + info.Size, info.ETag, nil
}

// errOther passes: the server may do better the next time.
var errOther = errors.New("the server answered with another part or version than it was asked for")

// Meaning is what an error of a server stands for.
type Meaning int

// What errors can mean. All others may pass and are worth another try.
const (
	Passing  Meaning = iota
	NotFound         // no such object
	NoBucket         // no such bucket
	Denied           // the credentials do not give access to this
	Unknown          // the credentials are not known
	Changed          // the object is another version than was asked for
	Unable           // the server does not know what was asked for
)

// Means reads an error of a Client.
func Means(err error) Meaning {
	var said minio.ErrorResponse
	if !errors.As(err, &said) {
		return Passing
	}
	switch said.Code {
	case minio.NoSuchKey:
		return NotFound
	case minio.NoSuchBucket:
		return NoBucket
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed":
		return Unknown
	case minio.AccessDenied, "AllAccessDisabled", "AccountProblem":
		return Denied
	case minio.PreconditionFailed:
		return Changed
	case minio.NotImplemented:
		return Unable
	}
	switch said.StatusCode {
	case http.StatusNotFound:
		return NotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		return Denied
	case http.StatusPreconditionFailed:
		return Changed
	case http.StatusNotImplemented:
		return Unable
	}
	return Passing
}

// Said is what a server answered, for people: a status and a code.
func Said(err error) string {
	var said minio.ErrorResponse
	var op *net.OpError
	var busy *busyError
	switch {
	case errors.As(err, &busy):
		return busy.Error()
	case errors.Is(err, errOther):
		return errOther.Error()
	case errors.As(err, &said) && said.StatusCode != 0:
		return fmt.Sprintf("the server answered %d %s", said.StatusCode, said.Code)
	case errors.As(err, &op) && op.Op == "dial":
		return "the server cannot be reached"
	}
	return "the connection failed"
}

// busyTransport makes an error of an answer that says when to come back: the
// client's own errors lose that.
type busyTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t busyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	after := resp.Header.Get("Retry-After")
	if after == "" || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, &busyError{resp.StatusCode, after}
}

type busyError struct {
	status int
	after  string
}

func (e *busyError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.status, http.StatusText(e.status))
}

// RetryAfter is the header of that name which came with an error, "" for none.
func RetryAfter(err error) string {
	if busy, ok := errors.AsType[*busyError](err); ok {
		return busy.after
	}
	return ""
}
