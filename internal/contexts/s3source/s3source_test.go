//go:build integration

package s3source_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/slipway-farm/slipway/internal/artifacts/artifactstest"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/contexts/s3source"
	"github.com/slipway-farm/slipway/internal/download"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/s3conn"
)

var server *hosttest.S3

func TestMain(m *testing.M) {
	s, cleanup, err := hosttest.RunS3(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "s3source:", err)
		os.Exit(1)
	}
	server = s
	code := m.Run()
	if err := cleanup(); err != nil {
		fmt.Fprintln(os.Stderr, "s3source:", err)
		code = 1
	}
	os.Exit(code)
}

func profile(t *testing.T, endpoint, secret string) s3conn.Profile {
	t.Helper()
	dir := t.TempDir()
	p := s3conn.Profile{Endpoint: endpoint, AccessKeyFile: filepath.Join(dir, "access"), SecretKeyFile: filepath.Join(dir, "secret")}
	for file, content := range map[string]string{p.AccessKeyFile: server.AccessKey, p.SecretKeyFile: secret} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func source(t *testing.T, names []string, p s3conn.Profile) *s3source.Source {
	t.Helper()
	s, err := s3source.New([]s3source.Buckets{{Names: names, Profile: p}}, download.Transfer{Stall: 300 * time.Millisecond, Pause: time.Millisecond, Tries: 3})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// place puts an object into the bucket with a client of its own.
func place(t *testing.T, key string, content []byte) string {
	t.Helper()
	c, err := s3conn.Open(profile(t, server.Endpoint, server.SecretKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutObject(t.Context(), server.Bucket, key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	return "s3://" + server.Bucket + "/" + key
}

func checkFailure(t *testing.T, err error, kind jobs.Kind, says string) {
	t.Helper()
	f, ok := errors.AsType[*jobs.Failure](err)
	if !ok || f.Kind != kind || !strings.Contains(f.Message, says) || f.Hint == "" {
		t.Errorf("got %v, want %s: ...%s... with a hint", err, kind, says)
	}
}

func TestSource(t *testing.T) {
	contextstest.TestSource(t, func(t *testing.T) contextstest.SourceCase {
		const bad = jobs.KindSpecInvalid
		b := "s3://" + server.Bucket
		return contextstest.SourceCase{
			Source: source(t, []string{"slip*"}, profile(t, server.Endpoint, server.SecretKey)),
			Place: func(t *testing.T, content []byte) string {
				return place(t, "contexts/"+artifactstest.Digest(content)[7:], content)
			},
			Missing: b + "/missing.tar",
			Refused: map[string]jobs.Kind{
				"s3://other/x": jobs.KindBucketNotAllowed, "s3://another-bucket/x.tar": jobs.KindBucketNotAllowed,
				b + "/../other/x": bad, b + "/a/../x": bad, b + "/./x": bad, b + "//x": bad, b + "/": bad, b: bad, b + "/a%2f..%2fx": bad, b + "/%2e%2e/x": bad, b + `/a\x`: bad,
				b + "/x?endpoint=http://evil.example": bad, b + "/x?": bad, b + "/x#y": bad, "s3://key:s3cret@" + server.Bucket + "/x": bad,
				b + ":9000/x": bad, "s3://UPPER/x": bad, "s3://x/y": bad, "s3://..a/x": bad, "s3:///x": bad, b + "/" + strings.Repeat("x", 1025): bad,
			},
			Secrets: []string{"s3cret", server.SecretKey, server.Endpoint},
		}
	})
}

// TestFaults puts a server that misbehaves in the place of the real one.
func TestFaults(t *testing.T) {
	t.Parallel()
	content := make([]byte, 200_000)
	for i := range content {
		content[i] = byte(i * 7 / 3)
	}
	type fault = contextstest.Fault
	for _, tt := range []struct {
		name   string
		faults []fault
		kind   jobs.Kind
		says   string
	}{
		{"none", nil, "", ""},
		{"503, then good", []fault{{Status: 503}, {}}, "", ""},
		{"429 with Retry-After, then good", []fault{{Status: 429, Header: map[string]string{"Retry-After": "1"}}, {}}, "", ""},
		{"503 with an hour", []fault{{Status: 503, Header: map[string]string{"Retry-After": "3600"}}}, jobs.KindContextFetch, "come back in 1h"},
		{"500 for ever", []fault{{Status: 500}}, jobs.KindContextFetch, "the server answered 500"},
		{"403", []fault{{Status: 403}}, jobs.KindContextDenied, "denies access"},
		{"404", []fault{{Status: 404}}, jobs.KindContextNotFound, "there is nothing at s3://slipway/x"},
		{"cut at 99 %, then resumed", []fault{{Cut: 198_000}, {}}, "", ""},
		{"stalled, then resumed", []fault{{Cut: 100_000, Stall: true}, {}}, "", ""},
		{"stalled for ever", []fault{{Cut: 1, Stall: true}, {Status: 500}}, jobs.KindContextFetch, "3 times in a row"},
		{"another version after a cut", []fault{{Cut: 100_000}, {Status: 412}}, jobs.KindContextFetch, "changed at its source"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(&contextstest.FaultServer{Content: content, Faults: tt.faults, Header: map[string]string{"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}})
			defer s.Close()
			got, err := read(t, source(t, []string{"slipway"}, profile(t, s.URL, "x")), "s3://slipway/x")
			if tt.kind != "" {
				checkFailure(t, err, tt.kind, tt.says)
			} else if err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, %v, want the content", len(got), err)
			}
		})
	}
}

func read(t *testing.T, s *s3source.Source, ref string) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), jobs.Context{Ref: ref})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	ref := place(t, "credentials.tar", []byte("x"))
	_, err := read(t, source(t, []string{"*"}, profile(t, server.Endpoint, "wrong")), ref)
	checkFailure(t, err, jobs.KindContextFetch, "does not know the worker's credentials")
	_, err = read(t, source(t, nil, profile(t, server.Endpoint, server.SecretKey)), ref)
	checkFailure(t, err, jobs.KindBucketNotAllowed, `"slipway"`)
	_, err = read(t, source(t, []string{"*"}, profile(t, "http://127.0.0.1:1", "x")), ref)
	checkFailure(t, err, jobs.KindContextFetch, "the server cannot be reached, 3 times in a row")
	if _, err := s3source.New([]s3source.Buckets{{Names: []string{"b"}, Profile: s3conn.Profile{Endpoint: "nowhere"}}}, download.Transfer{}); err == nil {
		t.Error("an endpoint that is no URL: got nil")
	}
	if _, err := s3source.New([]s3source.Buckets{{Names: []string{"b"}, Profile: s3conn.Profile{AccessKeyFile: "/no/such/file"}}}, download.Transfer{}); err == nil {
		t.Error("a key that is not there: got nil")
	}
}
