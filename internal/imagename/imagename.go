// Package imagename writes the names of images as the Docker daemon means them: with
// the registry, the folder and the tag that it fills in.
package imagename

import (
	"strings"

	"github.com/distribution/reference"
)

// IsName reports whether ref is the name of an image.
func IsName(ref string) bool {
	_, err := reference.ParseNormalizedNamed(ref)
	return err == nil
}

// Full is a name with registry, and with a tag unless it has a digest: busybox is
// docker.io/library/busybox:latest. What is no name stays as it is.
func Full(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.TagNameOnly(named).String()
}

// Familiar is a name as people write it, with a tag unless it has a digest:
// docker.io/library/busybox is busybox:latest. What is no name stays as it is.
func Familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}

// Repository is a name with registry, without tag and digest: busybox:1 is
// docker.io/library/busybox. What is no name stays as it is.
func Repository(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return named.Name()
}

// BaseCalled is a base as the results of jobs have it: its familiar name, or its digest. What
// stands before a digest says no more than the digest does.
func BaseCalled(name string) string {
	if _, digest, ok := strings.Cut(name, "@sha256:"); ok {
		return "sha256:" + digest
	}
	return Familiar(name)
}
