// Package enginetest has an engine in memory and the conformance suite that it
// and the real engine both pass. Tests of the worker use the [Fake]; package
// engine/docker runs the suite against a Docker daemon.
//
// The fake runs a few commands of a shell (see shell.go) instead of programs,
// so that one Dockerfile or command line means the same to it and to busybox on
// a real host.
package enginetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/imagename"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Fake is an engine.Engine in memory. The zero value is not ready; see [New].
type Fake struct {
	mu         sync.Mutex
	changed    chan struct{} // closed and replaced on every change of what Wait looks at
	info       engine.Info
	hook       func(ctx context.Context, op, arg string) error
	down       bool
	images     map[string]*image // by ID
	tags       map[string]string // reference -> ID
	remote     map[string]bool   // references that a pull finds
	denied     map[string]bool   // registries that answer 401
	pushed     map[string]string // tag -> name@digest
	containers map[string]*container
	serial     int
	cached     []time.Time // when the last builds ended
	// health is what the checks of new containers say, healthSaid what they print.
	health     engine.Health
	healthSaid string
}

// maxCached is how many builds the cache holds.
const maxCached = 256

var _ engine.Engine = (*Fake)(nil)

type image struct {
	id         string
	entrypoint []string
	command    []string
	tagged     bool // whether it ever had a name
}

// New makes a fake with one image, busybox:latest.
func New() *Fake {
	f := &Fake{
		changed:    make(chan struct{}),
		info:       engine.Info{ID: rand.Text(), Name: "fake", Version: "1.0", Platform: "linux/amd64", CPUs: 4, Memory: 8 << 30, Contexts: true},
		images:     map[string]*image{},
		tags:       map[string]string{},
		remote:     map[string]bool{},
		denied:     map[string]bool{},
		pushed:     map[string]string{},
		containers: map[string]*container{},
	}
	f.AddImage("busybox:latest")
	return f
}

// Hook is called before every operation with its name in lower case (info,
// build, tag, push, onhost, head, image, pull, removeimage, cachetimes, create, start, reattach,
// inspect, stop, remove, copyout, list) and its main argument: an image, a container's name or
// ID. It may block, and an error it returns is the operation's.
func (f *Fake) Hook(hook func(ctx context.Context, op, arg string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// Replace gives the host another daemon, without the containers and the images of
// the one before.
func (f *Fake) Replace() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info.ID = rand.Text()
	for _, c := range f.containers {
		f.discard(c)
	}
	clear(f.images)
	clear(f.tags)
	f.cached = nil
}

// SetDown takes the daemon away or brings it back. Containers run on meanwhile.
func (f *Fake) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	f.notify()
}

// AddImage puts an image on the host under ref and returns its ID.
func (f *Fake) AddImage(ref string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	img := &image{id: fakeDigest("image", ref), command: []string{"sh"}, tagged: true}
	f.images[img.id] = img
	f.tags[normal(ref)] = img.id
	return img.id
}

// AddUntagged puts an image on the host that never had a name, as a build that was
// cut off does, and returns its ID.
func (f *Fake) AddUntagged(text string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	img := &image{id: fakeDigest("untagged", text)}
	f.images[img.id] = img
	return img.id
}

// AddRemote makes ref known to the registry, so that a pull finds it.
func (f *Fake) AddRemote(ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remote[normal(ref)] = true
}

// Deny makes a registry, such as registry.example.com, refuse every access.
func (f *Fake) Deny(registry string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied[registry] = true
}

// Lose removes a container behind the worker's back.
func (f *Fake) Lose(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		f.discard(c)
	}
}

// SetHealthOfNew has the checks of images say something of containers that are made from now on.
func (f *Fake) SetHealthOfNew(h engine.Health, said string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.health, f.healthSaid = h, said
}

// SetHealth has the check of a container's image say something.
func (f *Fake) SetHealth(id string, h engine.Health, said string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		c.state.Health, c.state.HealthSaid = h, said
	}
}

// Containers returns the state of every container, by name.
func (f *Fake) Containers() []engine.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []engine.State
	for _, c := range f.containers {
		all = append(all, c.snapshot())
	}
	slices.SortFunc(all, func(a, b engine.State) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Tags returns the references of every image on the host, sorted.
func (f *Fake) Tags() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for ref := range f.tags {
		all = append(all, ref)
	}
	slices.Sort(all)
	return all
}

// Nameless returns the IDs of images that have no name.
func (f *Fake) Nameless() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	named := slices.Collect(maps.Values(f.tags))
	return slices.DeleteFunc(slices.Collect(maps.Keys(f.images)), func(id string) bool { return slices.Contains(named, id) })
}

// HasImage reports whether an image ID is on the host.
func (f *Fake) HasImage(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.images[id] != nil
}

// Info implements engine.Engine.
func (f *Fake) Info(ctx context.Context) (engine.Info, error) {
	if err := f.enter(ctx, "info", ""); err != nil {
		return engine.Info{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.info, nil
}

// Tag implements engine.Engine.
func (f *Fake) Tag(ctx context.Context, id, name string) error {
	if err := f.enter(ctx, "tag", name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.images[id] == nil {
		return jobs.Fail(jobs.KindEngine, nil, "", "there is no image %s", id)
	}
	f.images[id].tagged = true
	f.tags[normal(name)] = id
	return nil
}

// Push implements engine.Engine.
func (f *Fake) Push(ctx context.Context, id, tag string, progress io.Writer) (string, error) {
	if err := f.enter(ctx, "push", tag); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.images[id] == nil {
		return "", jobs.Fail(jobs.KindEngine, nil, "", "the image was removed from the host before it was pushed")
	}
	if registry, _, _ := strings.Cut(tag, "/"); f.denied[registry] {
		return "", jobs.Fail(jobs.KindRegistryDenied, nil, "check the registry credentials", "registry %s denied the push", registry)
	}
	f.tags[normal(tag)], f.images[id].tagged = id, true
	name, _ := splitTag(tag)
	f.pushed[tag] = name + "@" + fakeDigest("manifest", id)
	fmt.Fprintf(progressOr(progress), "pushed %s\n", tag)
	return f.pushed[tag], nil
}

// Pushed returns name@digest of a pushed tag, "" when it was not pushed.
func (f *Fake) Pushed(tag string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pushed[tag]
}

// OnHost implements pins.Engine.
func (f *Fake) OnHost(ctx context.Context, ref string) (id, digest string, err error) {
	ref = imagename.Familiar(ref)
	if err := f.enter(ctx, "onhost", ref); err != nil {
		return "", "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.lookup(ref)
	switch {
	case img == nil:
		return "", "", nil
	case img.id == fakeDigest("remote", normal(ref)):
		return img.id, fakeDigest("manifest", normal(ref)), nil
	default:
		return img.id, "", nil
	}
}

// Head implements pins.Engine.
func (f *Fake) Head(ctx context.Context, ref string) (string, error) {
	ref = imagename.Familiar(ref)
	if err := f.enter(ctx, "head", ref); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.remote[normal(ref)] {
		return "", jobs.Fail(jobs.KindBaseMissing, nil, "check the name and the tag", "image %s was not found", ref)
	}
	return fakeDigest("manifest", normal(ref)), nil
}

// PlatformDigest implements pins.Engine: the registry has no index.
func (f *Fake) PlatformDigest(context.Context, string, string, string) string { return "" }

// Image implements engine.Engine.
func (f *Fake) Image(ctx context.Context, ref string, progress io.Writer) (string, error) {
	if err := f.enter(ctx, "image", ref); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if img := f.lookup(ref); img != nil {
		return img.id, nil
	}
	return f.pull(ref, progress)
}

// Pull implements engine.Engine.
func (f *Fake) Pull(ctx context.Context, ref string, progress io.Writer) (string, error) {
	if err := f.enter(ctx, "pull", ref); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pull(ref, progress)
}

// pull gets an image from its registry; f.mu is held.
func (f *Fake) pull(ref string, progress io.Writer) (string, error) {
	if registry, _, _ := strings.Cut(ref, "/"); f.denied[registry] {
		return "", jobs.Fail(jobs.KindRegistryDenied, nil, "check the registry credentials", "registry %s denied the pull", registry)
	}
	if !f.remote[normal(ref)] {
		return "", jobs.Fail(jobs.KindImageMissing, nil, "check the name and the tag", "image %s was not found", ref)
	}
	img := &image{id: fakeDigest("remote", normal(ref)), command: []string{"sh"}, tagged: true}
	f.images[img.id], f.tags[normal(ref)] = img, img.id
	fmt.Fprintf(progressOr(progress), "pulled %s\n", ref)
	return img.id, nil
}

// CacheTimes tells when the builds ended whose caches are there.
func (f *Fake) CacheTimes(ctx context.Context) ([]time.Time, error) {
	if err := f.enter(ctx, "cachetimes", ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.cached), nil
}

// RemoveImage implements engine.Engine.
func (f *Fake) RemoveImage(ctx context.Context, ref string) error {
	if err := f.enter(ctx, "removeimage", ref); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id := ref
	if !jobs.IsDigest(ref) {
		id = f.tags[normal(ref)]
	}
	names := 0
	for _, tagged := range f.tags {
		if tagged == id {
			names++
		}
	}
	used := slices.ContainsFunc(slices.Collect(maps.Values(f.containers)), func(c *container) bool { return c.image == id })
	switch {
	case id == ref && names > 0, names <= 1 && used:
		return nil
	case id != ref:
		delete(f.tags, normal(ref))
	}
	if names <= 1 {
		delete(f.images, id)
	}
	return nil
}

// Untag takes a name from its image, which stays.
func (f *Fake) Untag(tag string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tags, normal(tag))
}

// Images implements engine.Engine.
func (f *Fake) Images(ctx context.Context, repository string) ([]engine.Named, error) {
	if err := f.enter(ctx, "images", repository); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []engine.Named
	for name, id := range f.tags {
		if repo, _ := splitTag(name); repo == repository {
			found = append(found, engine.Named{Name: name, ID: id})
		}
	}
	return found, nil
}

// Untagged implements engine.Engine.
func (f *Fake) Untagged(ctx context.Context) ([]string, error) {
	if err := f.enter(ctx, "untagged", ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for id, img := range f.images {
		if !img.tagged {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// ImageFacts describes what has a name, or an ID.
func (f *Fake) ImageFacts(ctx context.Context, ref string) (engine.ImageFacts, error) {
	if err := f.enter(ctx, "imagefacts", ref); err != nil {
		return engine.ImageFacts{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.lookup(ref)
	if img == nil {
		return engine.ImageFacts{}, nil
	}
	facts := engine.ImageFacts{ID: img.id, Size: 1}
	for name, id := range f.tags {
		if id == img.id {
			facts.Names = append(facts.Names, name)
		}
	}
	slices.Sort(facts.Names)
	return facts, nil
}

// enter is the start of every operation: the hook, then the daemon's absence.
func (f *Fake) enter(ctx context.Context, op, arg string) error {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, op, arg); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return jobs.Fail(jobs.KindDaemonLost, nil, "the farm tries again by itself", "the daemon does not answer")
	}
	return nil
}

// notify wakes every waiter; f.mu is held.
func (f *Fake) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// lookup finds an image by reference or ID; f.mu is held.
func (f *Fake) lookup(ref string) *image {
	if img := f.images[ref]; img != nil {
		return img
	}
	return f.images[f.tags[normal(ref)]]
}

// newID returns an ID no other object has; f.mu is held.
func (f *Fake) newID(kind string) string {
	f.serial++
	return fakeDigest(kind, fmt.Sprint(f.serial))
}

func fakeDigest(kind, text string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func splitTag(ref string) (name, tag string) {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i], ref[i+1:]
	}
	return ref, "latest"
}

// NormalName makes one name of all those that the fake takes for the same.
func NormalName(ref string) string { return normal(ref) }

func normal(ref string) string {
	if strings.Contains(ref, "@") {
		return ref
	}
	name, tag := splitTag(ref)
	return name + ":" + tag
}

func progressOr(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
