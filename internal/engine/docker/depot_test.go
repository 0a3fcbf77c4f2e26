//go:build integration

package docker

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// depot is a registry that remembers of which images it gave out the content. Each image
// has a layer of its own, so that who has that layer had the image.
type depot struct {
	addr       string
	client     http.RoundTripper
	system     v1.Layer // that every image begins with
	front      v1.Layer // the program of a frontend
	containerd bool     // the daemon has the containerd image store

	mu     sync.Mutex          // guards what follows
	tags   map[string]string   // digests, by reference
	stock  map[string]stocked  // by digest
	own    map[string]string   // digest of a layer -> of the manifest whose own layer it is
	out    map[string][]string // manifests, by the directory that was asked
	closed map[string]bool     // directories
}

// stocked is what the depot has under a digest.
type stocked struct {
	platforms map[string]string // digests of manifests by architecture; nil unless it is an index
	layers    []string          // diff IDs, of a manifest
	image     v1.Image
}

func openDepot(t *testing.T, h *hosttest.Host) *depot {
	t.Helper()
	s := &depot{
		client: &http.Transport{DialContext: h.Dial},
		tags:   map[string]string{}, stock: map[string]stocked{}, own: map[string]string{}, out: map[string][]string{}, closed: map[string]bool{},
	}
	s.addr = hosttest.StartSharedRegistry(t, hosttest.RegistryOptions{Before: s.before}, h)
	system, err := hosttest.BusyboxLayer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.system = layerOf(t, system)
	s.front = frontendLayer(t)
	return s
}

// before notes which content is given out, and ends the connection where the registry
// is to be away.
func (s *depot) before(r *http.Request) {
	dir, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed[dir] {
		panic(http.ErrAbortHandler)
	}
	manifest := s.own[path.Base(r.URL.Path)]
	if r.Method == http.MethodGet && manifest != "" && !slices.Contains(s.out[dir], manifest) {
		s.out[dir] = append(s.out[dir], manifest)
	}
}

func (s *depot) close(dir string, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed[dir] = away
}

func (s *depot) forget(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.out, dir)
}

// given lists the manifests whose content was given out, sorted.
func (s *depot) given(dir string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.out[dir]))
}

// now is what all references stand for.
func (s *depot) now() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.tags)
}

func (s *depot) stocked(digest string) stocked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stock[digest]
}

func (s *depot) keep(ref, digest string, what stocked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stock[digest] = what
	if ref != "" {
		s.tags[ref] = digest
	}
}

// material is what a line of a form's want stands for.
func (s *depot) material(line string, tags map[string]string) jobs.BaseImage {
	words := strings.Fields(line)
	m := jobs.BaseImage{Role: jobs.Role(words[0]), Ref: words[1], Pinned: slices.Contains(words, "pinned"), Local: slices.Contains(words, "local")}
	if _, digest, ok := strings.Cut(m.Ref, "@"); ok {
		m.Digest = digest
	} else {
		m.Digest = tags[m.Ref]
	}
	if slices.Contains(words, "away") {
		m.Local = s.containerd // it has a digest of every image, from a registry or not
		return m
	}
	m.PlatformDigest = s.stocked(m.Digest).platforms[archOf(line)]
	return m
}

// archOf is the architecture of which a wanted image is taken.
func archOf(line string) string {
	if strings.HasSuffix(line, " arm64") {
		return "arm64"
	}
	return "amd64"
}

// publish puts an image in the depot whose kind is its name. A reference that is there
// stays.
func (s *depot) publish(t *testing.T, ref string) {
	t.Helper()
	if s.now()[ref] != "" {
		return
	}
	dir, tag := path.Split(ref)
	name, _, _ := strings.Cut(tag, ":")
	switch name {
	case "alias":
		s.publish(t, dir+"a:1")
		s.put(t, ref, s.stocked(s.now()[dir+"a:1"]).image)
	case "copying":
		s.put(t, ref, s.image(t, v1.Config{OnBuild: []string{"COPY --from=" + dir + "b:1 /id /b"}}))
	case "mounting":
		s.put(t, ref, s.image(t, v1.Config{OnBuild: []string{"RUN --mount=from=" + dir + "b:1,target=/b cat /b/id"}}))
	case "multi":
		s.putIndex(t, ref, "linux/arm64", "linux/amd64")
	case "attested":
		s.putIndex(t, ref, "linux/amd64", "unknown/unknown")
	case "front":
		s.put(t, ref, s.image(t, v1.Config{Entrypoint: []string{"/frontend", "depot"}}, s.front))
	default:
		s.put(t, ref, s.image(t, v1.Config{}))
	}
}

// move gives each reference in a directory another image.
func (s *depot) move(t *testing.T, dir string) {
	t.Helper()
	var refs []string
	s.mu.Lock()
	for ref := range s.tags {
		if strings.HasPrefix(ref, s.addr+"/"+dir+"/") {
			refs = append(refs, ref)
			delete(s.tags, ref)
		}
	}
	s.mu.Unlock()
	for _, ref := range refs {
		s.publish(t, ref)
	}
}

// image makes an image with a layer of its own on top.
func (s *depot) image(t *testing.T, config v1.Config, below ...v1.Layer) v1.Image {
	t.Helper()
	if below == nil {
		below = []v1.Layer{s.system}
	}
	own := layerOf(t, enginetest.Archive(t, "id", rand.Text()))
	config.Env = []string{"PATH=/bin"}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: config, RootFS: v1.RootFS{Type: "layers"}})
	if err == nil {
		img, err = mutate.AppendLayers(img, append(below, own)...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// put publishes an image under a reference.
func (s *depot) put(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	s.note(t, ref, img)
	s.write(t, ref, func(to name.Reference) error { return remote.Write(to, img, remote.WithTransport(s.client)) })
}

// putIndex publishes an index of an image for each platform.
func (s *depot) putIndex(t *testing.T, ref string, platforms ...string) {
	t.Helper()
	index, all := v1.ImageIndex(empty.Index), stocked{platforms: map[string]string{}}
	for _, text := range platforms {
		img := s.image(t, v1.Config{})
		platform, err := v1.ParsePlatform(text)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS, config.Architecture = platform.OS, platform.Architecture
		if img, err = mutate.ConfigFile(img, config); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
		all.platforms[platform.Architecture] = s.note(t, "", img)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, ref, func(to name.Reference) error { return remote.WriteIndex(to, index, remote.WithTransport(s.client)) })
	s.keep(ref, digest.String(), all)
}

func (s *depot) write(t *testing.T, ref string, write func(name.Reference) error) {
	t.Helper()
	to, err := name.ParseReference(ref)
	if err == nil {
		err = write(to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// note remembers an image, and by which layer it is known.
func (s *depot) note(t *testing.T, ref string, img v1.Image) (digest string) {
	t.Helper()
	hash, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	kept := stocked{image: img}
	for _, diff := range config.RootFS.DiffIDs {
		kept.layers = append(kept.layers, diff.String())
	}
	s.keep(ref, hash.String(), kept)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[manifest.Layers[len(manifest.Layers)-1].Digest.String()] = hash.String()
	return hash.String()
}

func layerOf(t *testing.T, archive []byte) v1.Layer {
	t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// frontendLayer is a layer with a frontend that has the daemon's own one do its work.
func frontendLayer(t *testing.T) v1.Layer {
	t.Helper()
	program := filepath.Join(t.TempDir(), "frontend")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../../e2e/testdata/frontend")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the frontend: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err = w.WriteHeader(&tar.Header{Name: "frontend", Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return layerOf(t, archive.Bytes())
}
