package artifacts

import (
	"fmt"
	"path/filepath"
	"strings"
)

// IsBucket tells the two settings of a store apart: s3://bucket/prefix, and a
// directory by its absolute path. Anything else is a mistake, which would make a
// directory of that name.
func IsBucket(where string) (bool, error) {
	switch {
	case strings.HasPrefix(where, "s3://"):
		return true, nil
	case filepath.IsAbs(where):
		return false, nil
	}
	return false, fmt.Errorf("%q is neither s3://bucket/prefix nor an absolute path", where)
}
