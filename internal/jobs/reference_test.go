package jobs_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// FuzzReference: whatever a reference is, it is taken or refused with a finding
// that can be shown, and what is taken can be taken apart.
func FuzzReference(f *testing.F) {
	for _, r := range jobstest.References("/srv/contexts") {
		f.Add(r.Ref, "")
	}
	for _, ref := range []string{
		"cas:sha256:" + strings.Repeat("0", 64), "file:///srv/a%20b.tar", "https://example.com/a?b=c#d", "s3://bucket-1/a/b%23.tar", "s3://b.b/%2e%2e/x", "https://[fe80::1%25eth0]/x",
	} {
		f.Add(ref, "ci")
	}
	f.Fuzz(func(t *testing.T, ref, credential string) {
		c := jobs.Context{Ref: ref, Credential: credential}
		err := jobs.Spec{Context: &c, Build: &jobs.Build{}}.Normalize().Validate()
		if err != nil {
			var invalid *jobs.Invalid
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("error %v has no findings", err)
			}
			for _, p := range invalid.Problems {
				if text := p.String(); len(text) > 1000 || strings.IndexFunc(text, unicode.IsControl) >= 0 {
					t.Fatalf("%q cannot be shown", text)
				}
			}
			return
		}
		scheme, rest, _ := strings.Cut(ref, ":")
		if len(scheme) < 2 || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+.-") != "" || rest == "" || len(ref) > 4096 {
			t.Fatalf("%q was taken", ref)
		}
		if scheme == "cas" {
			if !jobs.IsDigest(rest) {
				t.Fatalf("%q was taken", ref)
			}
			return
		}
		u, err := url.Parse(ref)
		if err != nil || u.User != nil {
			t.Fatalf("%q was taken: %v", ref, err)
		}
		if u.Host == "" && (scheme == "http" || scheme == "https") {
			t.Fatalf("%q was taken without a host", ref)
		}
		if scheme != "s3" {
			return
		}
		bucket, key, err := c.Object()
		if err != nil || bucket == "" || strings.Trim(key, "/") != key || slices.Contains(strings.Split(key, "/"), "..") {
			t.Fatalf("%q is the object %q in %q: %v", ref, key, bucket, err)
		}
	})
}
