package bake

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// Target is a target in the terms of a job document.
type Target struct {
	Name string
	// Build is what the job builds, but for the Dockerfile of a directory.
	Build jobs.Build
	// Ref is the reference of the context, "" when it is a directory: Dir, which is
	// relative to where the file belongs.
	Ref, Dir string
	// Beside are directories by the names that the Dockerfile has for them; they are
	// relative as Dir is.
	Beside map[string]string
	// Dockerfile is the path of the Dockerfile of a directory: inside Dir, or absolute.
	Dockerfile string
	// Inline is the content of the Dockerfile, nil when a file has it.
	Inline []byte
	// Refused are the fields that no job can have and that change the image: there is no
	// job of this target. Ignored are those that only cost time, or change nothing.
	Refused, Ignored []Finding

	opts   Options
	pushes bool
}

// Finding says why a field was not taken over.
type Finding struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

// Options are what the command line says about all targets.
type Options struct {
	// Push has the tags of each target pushed.
	Push bool
	// Secrets and SSH are those that the workers have, by the IDs that targets ask for.
	Secrets, SSH []jobs.Secret
}

// Target judges a target, which [File.Pick] has named.
func (f File) Target(name string, opts Options) Target {
	t := Target{Name: name, Dir: ".", opts: opts}
	table := rows()
	for _, m := range f.targets[name] {
		i := slices.IndexFunc(table, func(r row) bool { return r.name == m.key })
		if i < 0 {
			t.refuse(m.key, "this version does not know it, and it may change the image")
			continue
		}
		if !empty(m.value) {
			table[i].judge(&t, m.value)
		}
	}
	t.together()
	if len(t.Refused) == 0 {
		t.validate()
	}
	return t
}

func (t *Target) refuse(field, format string, args ...any) {
	t.Refused = append(t.Refused, Finding{field, fmt.Sprintf(format, args...)})
}

func (t *Target) ignore(field, format string, args ...any) {
	t.Ignored = append(t.Ignored, Finding{field, fmt.Sprintf(format, args...)})
}

// together judges what takes more than one field to tell.
func (t *Target) together() {
	switch {
	case t.Inline != nil && t.Ref != "":
		t.refuse("dockerfile-inline", "its context is a reference, which the farm does not change; put the Dockerfile into that archive")
	case len(t.Beside) > 0 && t.Ref != "":
		t.refuse("contexts", "its context is a reference, which the farm does not change; put the directory %s into that archive", slices.Min(slices.Collect(maps.Keys(t.Beside))))
	case t.Inline != nil:
		t.Dockerfile = "" // as in bake, which prints the default beside it
	case t.Ref != "":
		t.Build.Dockerfile, t.Dockerfile = t.Dockerfile, ""
	}
	switch {
	case len(t.Build.Tags) > 0:
		t.Build.Push = t.opts.Push
	case t.pushes && t.opts.Push:
		t.refuse("output", "it pushes, and there is no tag to push")
	case t.opts.Push:
		t.ignore("tags", "there is none, so that the image is built and not pushed")
	}
}

// Spec is the document of the target's job. One whose context is a directory has a
// reference that stands for any.
func (t Target) Spec() jobs.Spec {
	build := t.Build
	ref := t.Ref
	if ref == "" {
		ref = "cas:sha256:" + strings.Repeat("0", 64)
	}
	return jobs.Spec{Name: t.Name, Context: &jobs.Context{Ref: ref}, Build: &build}
}

// validate refuses the fields that make a document which no farm takes.
func (t *Target) validate() {
	var inv *jobs.Invalid
	if !errors.As(t.Spec().Normalize().Validate(), &inv) {
		return
	}
	for _, p := range inv.Problems {
		t.refuse(fieldOf(p.Pointer), "%s (%s)", p.Message, p.Code)
	}
}

// fieldOf is the field that the place of a document came from.
func fieldOf(pointer string) string {
	for _, r := range rows() {
		if r.pointer != "" && (pointer == r.pointer || strings.HasPrefix(pointer, r.pointer+"/")) {
			return r.name
		}
	}
	return strings.TrimPrefix(pointer, "/") // /name, which is the target's
}
