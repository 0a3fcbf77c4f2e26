//go:build integration

package docker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	parsed "github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/pins"
)

// TestMaterials builds every form and compares what is recorded with witnesses that the
// recording does not ask: the registry, which knows of which images it gave out the
// content; the image, which has the layers of what it stands on; and BuildKit's own list
// of materials, where the engine has one.
//
// Each form is built anew and then with all tags moved, some from the cache in between. An
// image that the host had must not be given out again, so that nothing else was used.
func TestMaterials(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	s := openDepot(t, host)
	made, err := tryBuild(t, e, "FROM busybox:latest\nLABEL only=here\n", jobs.Build{Tags: []string{"only-here:1"}})
	if err != nil {
		t.Fatal(err)
	}
	s.tags["only-here:1"] = made.ImageID
	if s.tags[hosttest.BusyboxTag], err = e.Image(t.Context(), hosttest.BusyboxTag, nil); err != nil {
		t.Fatal(err)
	}
	if s.containerd, err = e.containerdStore(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := forms()
	for _, how := range []struct {
		name string
		pins *pins.Pins
	}{{"pinned", pins.New(nil, e, forgetful{})}, {"by name", nil}} {
		var recorded, refused atomic.Int32
		t.Run(how.name, func(t *testing.T) {
			for i, f := range all {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					dir := fmt.Sprintf("%s-%d", strings.ReplaceAll(how.name, " ", "-"), i)
					trial := trialForm{e: e, pins: how.pins, depot: s, dir: dir, form: inDepot(t, s, dir, f), hosts: map[string]string{}}
					if trial.run(t); t.Failed() {
						return
					}
					if trial.refused() != nil {
						refused.Add(1)
					} else {
						recorded.Add(1)
					}
				})
			}
		})
		t.Logf("%s, %d of %d forms: the materials of %d are exact, %d are not built by this engine", how.name, recorded.Load()+refused.Load(), len(all), recorded.Load(), refused.Load())
	}
}

// forgetful remembers no digest: a form moves its tags within the minute.
type forgetful struct{}

func (forgetful) Digest(context.Context, string) (string, error) { return "", nil }

func (forgetful) KeepDigest(context.Context, string, string, bool) error { return nil }

// trialForm is a form that is tried out.
type trialForm struct {
	form
	e     *Engine
	pins  *pins.Pins // nil when the engine gets the names as they are
	depot *depot
	dir   string            // of the form in the registry
	seen  []string          // digests of which the host has the content
	hosts map[string]string // digests of what the host has pulled, by reference
}

var (
	placePattern  = regexp.MustCompile(`R/[a-z0-9./-]*[a-z0-9](?::[a-z0-9]+)?`)
	digestPattern = regexp.MustCompile(`<([^<>]+:\d)>`)
)

// inDepot publishes what a form names, and writes for its placeholders what they stand for.
func inDepot(t *testing.T, s *depot, dir string, f form) form {
	t.Helper()
	args := strings.Join(slices.Collect(maps.Values(f.spec.Args)), "\n")
	at := s.addr + "/" + dir + "/"
	for _, ref := range placePattern.FindAllString(strings.Join(append(f.want, f.dockerfile, args), "\n"), -1) {
		s.publish(t, imagename.Full(at+strings.TrimPrefix(ref, "R/")))
	}
	tags := s.now()
	filled := func(text string) string {
		return digestPattern.ReplaceAllStringFunc(strings.ReplaceAll(text, "R/", at), func(name string) string { return tags[strings.Trim(name, "<>")] })
	}
	f.dockerfile = filled(f.dockerfile)
	f.want, f.have = slices.Clone(f.want), slices.Clone(f.have)
	for _, list := range [][]string{f.want, f.have} {
		for i := range list {
			list[i] = filled(list[i])
		}
	}
	f.spec.Args = maps.Clone(f.spec.Args)
	for k, v := range f.spec.Args {
		f.spec.Args[k] = filled(v)
	}
	return f
}

func (f *trialForm) run(t *testing.T) {
	for _, ref := range f.have {
		if _, err := f.e.Pull(t.Context(), ref, nil); err != nil {
			t.Fatal(err)
		}
		f.hosts[ref] = f.depot.now()[ref]
		f.seen = append(f.seen, f.hosts[ref])
	}
	f.depot.close(f.dir, f.away)
	if kinds := f.refused(); kinds != nil {
		if _, err := f.build(t, ""); err == nil || !slices.Contains(kinds, jobs.AsFailure(err).Kind) {
			t.Errorf("build = %v, want one of %q", err, kinds)
		}
		return
	}
	tags := f.depot.now()
	f.check(t, "built anew", tags)
	if f.again {
		f.check(t, "from the cache", tags)
	}
	if f.away {
		return
	}
	f.depot.move(t, f.dir)
	moved := f.depot.now()
	for _, ref := range f.have {
		if f.pins == nil && !f.spec.Pull {
			moved[ref] = tags[ref] // it stays what the host has
		}
	}
	f.check(t, "with all tags moved", moved)
}

// refused are the kinds with which this engine may refuse the form, nil when it builds it.
func (f *trialForm) refused() []jobs.Kind {
	if kinds := f.fails[""]; kinds != nil {
		return kinds
	}
	return f.fails[f.e.cli.ClientVersion()]
}

// check builds and compares with what the tags stand for.
func (f *trialForm) check(t *testing.T, when string, tags map[string]string) {
	t.Helper()
	f.depot.forget(f.dir)
	label := rand.Text()
	built, err := f.build(t, label)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	var want []jobs.BaseImage
	var given []string
	for _, line := range f.want {
		m := f.depot.material(line, tags)
		want = append(want, m)
		if content := cmp.Or(m.PlatformDigest, m.Digest); !m.Local && !slices.Contains(f.seen, content) {
			given = append(given, content)
		}
		if m.Role == jobs.RoleFrom {
			f.standsOn(t, when, built.ImageID, m)
		}
	}
	if diff := gocmp.Diff(want, built.Bases); diff != "" {
		t.Errorf("%s: materials (-want +got):\n%s", when, diff)
	}
	if f.e.cli.ClientVersion() != api2010 {
		if diff := gocmp.Diff(f.provenance(t, tags), provenance(t, f.e, label), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: BuildKit's own materials (-want +got):\n%s", when, diff)
		}
	}
	f.seen = append(f.seen, given...)
	slices.Sort(given)
	given = slices.Compact(given)
	if diff := gocmp.Diff(given, f.depot.given(f.dir), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: images of which the registry gave out the content (-want +got):\n%s", when, diff)
	}
}

// provenance is what BuildKit's own record of a build says of the wanted materials. The
// older image store names what is on the host by its layers.
func (f *trialForm) provenance(t *testing.T, tags map[string]string) (images []string) {
	t.Helper()
	var names []string
	for _, line := range f.want {
		m := f.depot.material(line, tags)
		name, _, _ := strings.Cut(m.Ref, "@")
		if m.Role == jobs.RoleSyntax || f.pins == nil && m.Pinned && slices.Contains(names, name) {
			continue
		}
		if f.pins != nil && archOf(line) != "amd64" {
			m.Digest = cmp.Or(m.PlatformDigest, m.Digest) // that is what was pinned
		}
		names = append(names, name)
		pulled := f.hosts[m.Ref] == m.Digest && !f.spec.Pull
		if (m.Local || pulled) && !f.depot.containerd {
			m.Digest = chainOf(f.layers(t, m))
		}
		images = append(images, m.Digest+" linux/"+archOf(line))
	}
	return slices.Compact(slices.Sorted(slices.Values(images)))
}

// chainOf is the chain ID of layers, as the specification of OCI images has it.
func chainOf(layers []string) string {
	chain := layers[0]
	for _, layer := range layers[1:] {
		chain = digest.FromString(chain + " " + layer).String()
	}
	return chain
}

// standsOn checks that an image begins with the layers of its base.
func (f *trialForm) standsOn(t *testing.T, when, id string, base jobs.BaseImage) {
	t.Helper()
	have, err := f.e.cli.ImageInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	layers := f.layers(t, base)
	if len(have.RootFS.Layers) < len(layers) || !slices.Equal(have.RootFS.Layers[:len(layers)], layers) {
		t.Errorf("%s: the image has the layers %q, and its base %s has %q", when, have.RootFS.Layers, base.Ref, layers)
	}
}

// layers are the diff IDs of a material.
func (f *trialForm) layers(t *testing.T, m jobs.BaseImage) []string {
	t.Helper()
	layers := f.depot.stocked(cmp.Or(m.PlatformDigest, m.Digest)).layers
	if len(layers) == 0 { // only the host has it
		local, err := f.e.cli.ImageInspect(t.Context(), m.Ref)
		if err != nil {
			t.Fatal(err)
		}
		layers = local.RootFS.Layers
	}
	if len(layers) == 0 {
		t.Fatalf("%s has no layers", m.Ref)
	}
	return layers
}

// build builds as a worker does.
func (f *trialForm) build(t *testing.T, label string) (engine.Built, error) {
	t.Helper()
	name := cmp.Or(f.spec.Dockerfile, jobs.DefaultDockerfile)
	d := parsed.File{Name: name, Content: []byte(f.dockerfile)}
	b := engine.Build{Spec: f.spec, Name: "engine-test:" + strings.ToLower(rand.Text())}
	b.Spec.Labels = map[string]string{formLabel: label}
	for _, img := range parsed.Used(d, f.spec, platform) {
		b.Images = append(b.Images, engine.Image{Ref: img.Ref, Role: img.Role, Platform: img.Platform})
	}
	files := []string{"hello.txt", "hello\n"}
	if f.hidden {
		b.Dockerfile = []byte(f.dockerfile)
	} else {
		files = append(files, name, f.dockerfile)
	}
	if f.pins != nil {
		if found, err := parsed.Check(d, f.spec, parsed.Rules{}); err == nil && found.Frontend != "" {
			b.Images = append(b.Images, engine.Image{Ref: found.Frontend, Role: jobs.RoleSyntax})
		}
		images, pinned, err := f.pins.Pin(t.Context(), d, f.spec, b.Images, platform, io.Discard)
		if err != nil {
			return engine.Built{}, err
		}
		if b.Images = images; pinned != nil {
			b.Dockerfile = pinned
		}
	}
	b.Context = bytes.NewReader(enginetest.Archive(t, files...))
	return f.e.Build(t.Context(), b)
}
