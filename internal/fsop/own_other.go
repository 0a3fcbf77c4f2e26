//go:build !unix

package fsop

import "io/fs"

// IsOwn reports whether a directory is this user's, and no other user can write to it. That
// cannot be told here, so none is.
func IsOwn(fs.FileInfo) bool { return false }
