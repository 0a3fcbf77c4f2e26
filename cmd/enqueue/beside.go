package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// besides finds the directories of this machine among the named contexts of a build whose
// context is a directory, too. They go into its archive, and the build gets their paths in
// there; images stay as they are.
func besides(named map[string]string, build *jobs.Build) ([]pack.Beside, error) {
	var all []pack.Beside
	for _, name := range slices.Sorted(maps.Keys(named)) {
		dir := named[name]
		if _, image := jobs.ContextImage(dir); image {
			continue
		}
		info, err := os.Stat(dir)
		switch {
		case err != nil && (strings.Contains(dir, "://") || strings.HasPrefix(dir, "target:")):
			return nil, fmt.Errorf("%s: it is neither a directory nor docker-image://IMAGE", name)
		case err != nil:
			return nil, fmt.Errorf("%s: %q cannot be read: %w", name, dir, pathReason(err))
		case !info.IsDir():
			return nil, fmt.Errorf("%s: %q is no directory", name, dir)
		}
		at := fmt.Sprintf("%scontext-%d", contexts.HiddenPrefix, len(all))
		all = append(all, pack.Beside{Name: name, Dir: dir, Path: at})
		if build.Contexts == nil {
			build.Contexts = map[string]string{}
		}
		build.Contexts[name] = at
	}
	return all, nil
}
