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

func (p *problems) outputs(r Run) {
	p.count("/run/outputs", len(r.Outputs))
	for i, o := range r.Outputs {
		at := fmt.Sprintf("/run/outputs/%d", i)
		p.abspath(at, o)
		if o == "" || path.Clean(o) == "/" {
			p.add("output_invalid", at, "want a path below /")
		} else if why := EndsWithContainer(o, r.Tmpfs, len(r.Secrets) > 0); why != "" {
			p.add("output_on_mount", at, "%s cannot be collected: %s; write it to another path", Clip(o), why)
		}
	}
	p.choice("outputs_on_invalid", "/run/outputs_on", "condition", r.OutputsOn, OutputsAlways, OutputsSuccess)
	if r.Keep != 0 && len(r.Outputs) > 0 {
		p.add("outputs_with_keep", "/run/outputs", "outputs are collected from a stopped container; a kept service has none")
	}
}

// kernelMounts are in every container, and gone when it has ended.
func kernelMounts() []string { return []string{"/dev", "/proc", "/sys"} }

// EndsWithContainer says which mount takes what is at an absolute path away when the
// container ends, "" when none does: it can be collected only from a container that
// has ended. tmpfs are the paths that the job has mounted; secrets tells that it has some.
func EndsWithContainer[V any](p string, tmpfs map[string]V, secrets bool) string {
	p = path.Clean(p)
	if secrets && (below(p, SecretsDir) || below(SecretsDir, p)) {
		return fmt.Sprintf("%s has the files of run.secrets, which go when the container ends", SecretsDir)
	}
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

// FindOutput returns the output that has a path of the container, and where in its tar that
// is; false when none has.
func FindOutput(all []Output, want string) (out Output, inside string, ok bool) {
	want = path.Clean(want)
	for _, o := range all {
		own := path.Clean(o.Path)
		if rest, below := strings.CutPrefix(want, own); below && (rest == "" || rest[0] == '/') {
			return o, path.Base(own) + rest, true
		}
	}
	return Output{}, "", false
}
