package jobs

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// schemePattern is RFC 3986's, in the lower case that it asks for. One letter is
// the drive of a path on Windows.
var schemePattern = regexp.MustCompile(`^[a-z][a-z0-9+.-]+$`)

// Context refers to the archive a build starts from.
type Context struct {
	// Ref is cas:sha256:<hex>, file:///path, https://..., or s3://bucket/key.
	Ref string `json:"ref"`
	// Digest of the uncompressed tar, sha256:<hex>. With cas: the reference
	// itself is the digest.
	Digest string `json:"digest,omitempty"`
	// Size of the uncompressed tar in bytes, 0 when unknown.
	Size int64 `json:"size,omitempty"`
	// Credential is the worker's name of what to log in with at an https:
	// reference. Its value never travels.
	Credential string `json:"credential,omitempty"`
	// Dir is the directory of the archive that is the context, a slash-separated
	// path, or * for the only folder at its top, as forges pack a repository. ""
	// is the whole archive.
	Dir string `json:"dir,omitempty"`
}

func (c Context) normal() Context {
	if c.Ref == "cas:"+c.Digest {
		c.Digest, c.Credential = "", "" // the reference is the digest
	}
	if c.Dir != "" {
		c.Dir = path.Clean(c.Dir)
	}
	if c.Dir == "." {
		c.Dir = ""
	}
	return c
}

// Scheme takes a reference apart at its colon. ok is false when what stands before it
// cannot be a scheme. Which schemes there are is the worker's business: a program that
// submits jobs may be older than the worker.
func (c Context) Scheme() (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(c.Ref, ":")
	if !ok || !schemePattern.MatchString(scheme) {
		return "", "", false
	}
	return scheme, rest, true
}

func (p *problems) context(c Context) {
	p.match(digestPattern, "digest_invalid", "/context/digest", c.Digest, "sha256: and 64 lower-case hex digits")
	if c.Size < 0 {
		p.add("context_size_invalid", "/context/size", "found %d; want 0 (unknown) or more", c.Size)
	}
	p.match(secretPattern, "credential_invalid", "/context/credential", c.Credential, "letters, digits and . _ -, at most 64")
	if d := path.Clean(c.Dir); path.IsAbs(d) || leavesDir(d) || strings.ContainsAny(d, "\x00\n") || len(d) > 4096 {
		p.add("context_dir_invalid", "/context/dir", "found %q; want a directory inside the archive, or * for its only top folder", Clip(c.Dir))
	}
	scheme, rest, named := c.Scheme()
	if c.Credential != "" && slices.Contains([]string{"", "cas", "file", "http", "s3"}, scheme) {
		p.add("credential_unused", "/context/credential", "a credential goes with an https: reference")
	}
	if !named || rest == "" || len(c.Ref) > 4096 {
		p.add("context_ref_invalid", "/context/ref", "found %q; want cas:sha256:..., file:///path, https://... or s3://bucket/key", Clip(c.Ref))
		return
	}
	if scheme == "cas" {
		if !IsDigest(rest) {
			p.add("context_ref_invalid", "/context/ref", "found %q; want cas:sha256: and 64 lower-case hex digits", Clip(c.Ref))
		} else if c.Digest != "" && c.Digest != rest {
			p.add("context_digest_conflict", "/context/digest", "the reference says %s and the digest %s", rest, c.Digest)
		}
		return
	}
	u, err := url.Parse(c.Ref)
	switch {
	case err != nil:
		p.add("context_ref_invalid", "/context/ref", "not a URL")
	case u.User != nil:
		p.add("url_userinfo", "/context/ref", "credentials do not belong in a reference; the operator gives them to the worker")
	case scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path) || u.RawQuery != ""):
		p.add("context_ref_invalid", "/context/ref", "found %q; want file:///absolute/path", Clip(c.Ref))
	case slices.Contains([]string{"http", "https", "s3"}, scheme) && u.Host == "":
		p.add("context_ref_invalid", "/context/ref", "the host or bucket is missing")
	case scheme == "s3":
		if _, _, err := c.Object(); err != nil {
			p.add("context_ref_invalid", "/context/ref", "no object in S3: %s", err)
		}
	}
}
