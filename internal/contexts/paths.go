package contexts

import (
	"path"
	"strings"
)

// leaves reports whether a path is absolute or leads out of where it starts.
func leaves(p string) bool {
	p = path.Clean(p)
	return path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../")
}
