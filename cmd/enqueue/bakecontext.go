package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pack"
)

// locate finds the directory of a target, and its Dockerfile in there.
func (t *baked) locate(base string) {
	if t.Ref != "" {
		t.job.source = source{fromRef, t.Ref}
		return
	}
	dir := t.Dir
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(base, dir)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		t.refuse("context", "the directory %s cannot be read: %v", dir, pathReason(err))
		return
	case !info.IsDir():
		t.refuse("context", "%s is no directory", dir)
		return
	}
	t.job.source = source{fromDir, dir}
	named := map[string]string{}
	for name, from := range t.Beside {
		if named[name] = from; !filepath.IsAbs(from) {
			named[name] = filepath.Join(base, from)
		}
	}
	if t.job.beside, err = besides(named, t.job.spec.Build); err != nil {
		t.refuse("contexts", "%v", err)
		return
	}
	if t.Dockerfile == "" {
		return
	}
	file, ok := inside(dir, t.Dockerfile)
	if !ok {
		t.refuse("dockerfile", "%s is outside the context %s; copy it there, or give a context that holds both", t.Dockerfile, dir)
		return
	}
	t.job.spec.Build.Dockerfile = file
}

// inside is the path of a Dockerfile below the context, which bake begins there. ok is
// false when it is elsewhere. The folder is resolved and the name kept, so that a link
// stays a link.
func inside(dir, file string) (string, bool) {
	if filepath.IsLocal(file) {
		return filepath.ToSlash(file), true // packing says so when it is not there
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	top, err := realPath(dir)
	if err != nil {
		return "", false
	}
	parent, err := realPath(filepath.Dir(file))
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(top, filepath.Join(parent, filepath.Base(file)))
	return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
}

// packing is what a packed context depends on: a directory, and the Dockerfile unless
// it changes nothing.
type packing struct{ dir, dockerfile, inline, beside string }

// packing is that of a job. Many targets have one large directory, and it is packed once.
func (s *submission) packing() packing {
	key := packing{s.source.arg, s.spec.Build.Dockerfile, string(s.inline), fmt.Sprint(s.beside)}
	if s.inline != nil {
		return key
	}
	d, plain, err := pack.Look(s.source.arg, s.spec.Build.Dockerfile)
	if err == nil && plain { // packing finds the error, too
		s.checked, s.spec.Build.Dockerfile, key.dockerfile = d, d.Name, ""
	}
	return key
}

// packAll packs and stores the contexts. Once it is clear that nothing will be submitted
// it only looks for more reasons, and stores no more; what is stored by then is garbage
// to the farm, as it is when a submit is interrupted.
func (b *baking) packAll(ctx context.Context) error {
	hopeless := func() bool { return len(b.taken()) < len(b.targets) && !b.options.SkipRefused }
	if hopeless() {
		return nil // these are reasons enough to look at
	}
	dry := *b.options
	dry.DryRun = true
	packed := map[packing]*submission{}
	for _, t := range b.taken() {
		if t.job.source.kind != fromDir {
			continue
		}
		if hopeless() {
			t.job.options = &dry
		}
		key := t.job.packing()
		err := t.job.packOnce(ctx, packed[key])
		f, ok := errors.AsType[*jobs.Failure](err)
		switch {
		case ok && f.Kind.Info().Fault != jobs.InfraFault:
			field := "context"
			if strings.HasPrefix(string(f.Kind), "dockerfile_") {
				field = "dockerfile"
			}
			t.refuse(field, "%s (%s)", f.Message, f.Kind)
		case err != nil:
			return err
		default:
			packed[key] = &t.job
		}
	}
	return nil
}

// packOnce stores the context, or takes that of an equal one. The Dockerfile is judged
// for each: arguments and stage are the target's.
func (s *submission) packOnce(ctx context.Context, same *submission) error {
	if same == nil {
		return s.storeContext(ctx)
	}
	if len(s.checked.Content) == 0 { // it is the other's, which packing may have renamed
		s.checked = same.checked
		s.spec.Build.Dockerfile, s.spec.Build.HideDockerfile = same.spec.Build.Dockerfile, same.spec.Build.HideDockerfile
	}
	s.spec.Context = same.spec.Context
	return s.checkDockerfile(s.checked)
}

// findOrder finds out which targets are built on tags of others.
func (b *baking) findOrder() {
	maker := map[string]string{}
	for _, t := range b.targets {
		for _, tag := range t.Build.Tags {
			maker[imagename.Full(tag)] = t.Name
		}
	}
	for _, t := range b.taken() {
		bases := map[string]bool{}
		for _, ref := range t.job.bases() {
			if name, ok := maker[imagename.Full(ref)]; ok && name != t.Name {
				bases[name] = true
			}
		}
		t.standsOn = slices.Sorted(maps.Keys(bases))
	}
}

// bases are the images that a Dockerfile which was packed here names, whatever the rules
// of the workers are.
func (s *submission) bases() []string {
	if len(s.checked.Content) == 0 {
		return nil
	}
	build := *s.spec.Build
	found, _ := dockerfile.Check(s.checked, build, dockerfile.Rules{ // its errors were told
		Frontends: []string{"*"}, AddHosts: []string{"*"}, AnyRegistry: true, BuildArgs: slices.Collect(maps.Keys(build.Args)),
	})
	return found.Images
}
