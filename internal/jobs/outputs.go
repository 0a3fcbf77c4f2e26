package jobs

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// When outputs are collected.
const (
	// OutputsAlways is the default: the report of a run that failed is worth most.
	OutputsAlways  = "always"
	OutputsSuccess = "success"
)

// kernelMounts are in every container, and gone when it has ended.
func kernelMounts() []string { return []string{"/dev", "/proc", "/sys"} }

// EndsWithContainer says which mount takes what is at an absolute path away when the
// container ends, "" when none does: it can be collected only from a container that
// has ended. tmpfs are the paths that the job has mounted.
func EndsWithContainer[V any](p string, tmpfs map[string]V) string {
	p = path.Clean(p)
	for _, mount := range kernelMounts() {
		if below(p, mount) {
			return fmt.Sprintf("it is on %s, which has nothing when the container has ended", mount)
		}
	}
	for _, mount := range slices.Sorted(maps.Keys(tmpfs)) {
		switch mount = path.Clean(mount); {
		case below(p, mount):
			return fmt.Sprintf("it is on the tmpfs %s, whose content goes when the container ends", mount)
		case below(mount, p):
			return fmt.Sprintf("the tmpfs %s is below it, whose content goes when the container ends", mount)
		}
	}
	return ""
}

// below reports whether a clean path is another one, or below it.
func below(p, top string) bool {
	return p == top || strings.HasPrefix(p, strings.TrimSuffix(top, "/")+"/")
}
