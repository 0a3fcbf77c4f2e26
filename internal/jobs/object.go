package jobs

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

var bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// IsBucket reports whether s can be the name of a bucket in S3.
func IsBucket(s string) bool { return bucketPattern.MatchString(s) && !strings.Contains(s, "..") }

// Object takes an s3: reference apart. A key is what it is, not a path: segments
// that a server might resolve are refused. The error is a short reason.
func (c Context) Object() (bucket, key string, err error) {
	u, err := url.Parse(c.Ref)
	switch {
	case err != nil || u.Scheme != "s3":
		return "", "", errors.New("it cannot be read")
	case u.User != nil || u.Port() != "":
		return "", "", errors.New("endpoint, region and credentials are the operator's to set")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", "", errors.New("it takes no parameters, such as endpoint or region; in a key write %3f for ? and %23 for #")
	case !IsBucket(u.Host):
		return "", "", errors.New("its bucket has an impossible name")
	}
	key = strings.TrimPrefix(u.Path, "/")
	if key == "" {
		return "", "", errors.New("its key is missing; write s3://bucket/key")
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\\") {
			return "", "", errors.New("its key has a part that is empty, . or .., or holds a backslash or a NUL byte")
		}
	}
	if len(key) > 1024 {
		return "", "", errors.New("its key has more than 1024 bytes")
	}
	return u.Host, key, nil
}
