package pins_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
	"github.com/slipway-farm/slipway/internal/pins"
)

const native = "linux/amd64"

// host is a build host and the registries that it asks.
type host struct {
	mu       sync.Mutex
	registry map[string]string // digests by full name; "" does not answer
	has      map[string]string // the same of what is on the host; "" is known to no registry
	asked    []string
	down     bool
}

func (h *host) OnHost(_ context.Context, ref string) (id, digest string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return "", "", errors.New("the daemon does not answer")
	}
	if digest, ok := h.has[ref]; ok {
		return "sha256:id", digest, nil
	}
	return "", "", nil
}

func (h *host) Head(_ context.Context, ref string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, ref)
	if digest := h.registry[ref]; digest != "" {
		return digest, nil
	}
	return "", errors.New("no answer")
}

func (h *host) PlatformDigest(_ context.Context, _, digest, platform string) string {
	if platform == "linux/riscv64" { // the registry does not tell
		return ""
	}
	return digest + "-" + platform
}

// asks returns which names were asked for since it was called last, sorted.
func (h *host) asks() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.asked
	h.asked = nil
	slices.Sort(all)
	return all
}

// farm is a host with what the workers of a farm share.
type farm struct {
	*host
	t      *testing.T
	shared *jobstest.Memory
	pins   *pins.Pins
	notes  strings.Builder
}

func newFarm(t *testing.T) *farm {
	f := &farm{t: t, shared: jobstest.NewMemory(jobstest.Options{}), host: &host{
		registry: map[string]string{
			"docker.io/library/a:1": "sha256:a", "docker.io/library/b:latest": "sha256:b", "docker.io/docker/dockerfile:1": "sha256:front",
		},
		has: map[string]string{},
	}}
	f.pins = pins.New(nil, f.host, f.shared)
	return f
}

// pin returns the Dockerfile as it is built, and what is known of its images.
func (f *farm) pin(text string, b jobs.Build) (string, []engine.Image) {
	f.t.Helper()
	d := dockerfile.File{Name: "Dockerfile", Content: []byte(text)}
	var images []engine.Image
	for _, img := range dockerfile.Used(d, b, native) {
		images = append(images, engine.Image{Ref: img.Ref, Role: img.Role, Platform: img.Platform})
	}
	if strings.HasPrefix(text, "# syntax") {
		images = append(images, engine.Image{Ref: "docker/dockerfile:1", Role: jobs.RoleSyntax})
	}
	images, pinned, err := f.pins.Pin(f.t.Context(), d, b, images, native, &f.notes)
	if err != nil {
		f.t.Fatalf("Pin: %v", err)
	}
	if pinned == nil {
		pinned = d.Content
	}
	return string(pinned), images
}

func (f *farm) is(text, want string, b jobs.Build) {
	f.t.Helper()
	got, _ := f.pin(text, b)
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("(-want +got):\n%s", diff)
	}
}

// asks checks which names the registries were asked for since it was called last.
func (f *farm) asks(want ...string) {
	f.t.Helper()
	if got := f.host.asks(); !slices.Equal(got, want) {
		f.t.Errorf("asked for %q, want %q", got, want)
	}
}

func TestPin(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	text, images := f.pin("# syntax=docker/dockerfile:1\nFROM a:1\nCOPY --from=b / /\nCOPY --from=c@sha256:c / /\n", jobs.Build{})
	if want := "# syntax=docker/dockerfile:1@sha256:front\nFROM a:1@sha256:a\nCOPY --from=b@sha256:b / /\nCOPY --from=c@sha256:c / /\n"; text != want {
		t.Errorf("built is %q, want %q", text, want)
	}
	if diff := cmp.Diff([]engine.Image{
		{Ref: "a:1", Role: jobs.RoleFrom, Pin: "a:1@sha256:a", Digest: "sha256:a"},
		{Ref: "b", Role: jobs.RoleCopy, Pin: "b@sha256:b", Digest: "sha256:b"},
		{Ref: "c@sha256:c", Role: jobs.RoleCopy},
		{Ref: "docker/dockerfile:1", Role: jobs.RoleSyntax, Pin: "docker/dockerfile:1@sha256:front", Digest: "sha256:front"},
	}, images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// What a trigger uses is part of an image, and stays a name.
func TestPinOfTriggers(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	text, images := f.pin("FROM a:1 AS x\nONBUILD COPY --from=b / /\nFROM x\n", jobs.Build{})
	if want := "FROM a:1@sha256:a AS x\nONBUILD COPY --from=b / /\nFROM x\n"; text != want {
		t.Errorf("built is %q, want %q", text, want)
	}
	if i := slices.IndexFunc(images, func(img engine.Image) bool { return img.Ref == "b" }); i < 0 || images[i].Pin != "" {
		t.Errorf("images are %v", images)
	}
}

// A name that the host has from its registry may stand for something else there by now.
func TestPinOfWhatTheHostHas(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.has["docker.io/library/a:1"], f.has["docker.io/library/b:latest"] = "sha256:old", ""
	f.is("FROM a:1\nCOPY --from=b / /\n", "FROM a:1@sha256:a\nCOPY --from=b / /\n", jobs.Build{})
	f.asks("docker.io/library/a:1") // the other is no registry's business
	f.is("FROM b\n", "FROM b@sha256:b\n", jobs.Build{Pull: true})
}

func TestPinWithoutARegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t)
		f.has["docker.io/library/gone:1"] = "sha256:old"
		f.is("FROM gone:1\nCOPY --from=a:1 / /\n", "FROM gone:1@sha256:old\nCOPY --from=a:1@sha256:a / /\n", jobs.Build{})
		f.asks("docker.io/library/a:1", "docker.io/library/gone:1")
		if want := "the registry of gone:1 did not tell what it has: the build uses what is on the host, sha256:old\n"; f.notes.String() != want {
			t.Errorf("the job's log has %q, want %q", f.notes.String(), want)
		}
		f.is("FROM gone:1\nCOPY --from=b / /\n", "FROM gone:1@sha256:old\nCOPY --from=b@sha256:b / /\n", jobs.Build{})
		f.asks("docker.io/library/b:latest") // and not again for the other
		f.is("FROM gone:1\n", "FROM gone:1\n", jobs.Build{Pull: true})
		f.is("FROM nowhere:1\n", "FROM nowhere:1\n", jobs.Build{})
		f.asks("docker.io/library/gone:1", "docker.io/library/nowhere:1")
		time.Sleep(jobs.DigestAge)
		f.registry["docker.io/library/gone:1"] = "sha256:new"
		f.is("FROM gone:1\n", "FROM gone:1@sha256:new\n", jobs.Build{})
	})
}

// What one worker was told does for all, for a minute, unless one of them pushes.
func TestPinsAreShared(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	const full = "docker.io/library/a:1"
	f.is("FROM a:1\n", "FROM a:1@sha256:a\n", jobs.Build{})
	f.registry[full] = "sha256:a2"
	f.pins = pins.New(nil, f.host, f.shared) // another worker
	f.asks(full)
	f.is("FROM a:1\n", "FROM a:1@sha256:a\n", jobs.Build{})
	f.asks()
	f.is("FROM a:1\n", "FROM a:1@sha256:a2\n", jobs.Build{Pull: true})
	f.asks(full)
	f.pins.Pushed(t.Context(), "a:1", "sha256:a3")
	f.is("FROM a:1\n", "FROM a:1@sha256:a3\n", jobs.Build{})
	f.asks()
	f.shared.Advance(jobs.DigestAge)
	f.is("FROM a:1\n", "FROM a:1@sha256:a2\n", jobs.Build{})
}

// The older image store cannot have an index for two platforms.
func TestPinForAnotherPlatform(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	const text = "FROM --platform=$BUILDPLATFORM a:1 AS x\nFROM a:1\nCOPY --from=x / /\n"
	f.is(text, "FROM --platform=$BUILDPLATFORM a:1@sha256:a AS x\nFROM a:1@sha256:a-linux/arm64\nCOPY --from=x / /\n", jobs.Build{Platform: "linux/arm64"})
	f.is(text, "FROM --platform=$BUILDPLATFORM a:1@sha256:a AS x\nFROM a:1@sha256:a\nCOPY --from=x / /\n", jobs.Build{Platform: native})
	f.is(text, "FROM --platform=$BUILDPLATFORM a:1@sha256:a AS x\nFROM a:1@sha256:a\nCOPY --from=x / /\n", jobs.Build{Platform: "linux/riscv64"})
}

func TestPinOnAHostThatIsDown(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.down = true
	d := dockerfile.File{Name: "Dockerfile", Content: []byte("FROM a:1\n")}
	if _, _, err := f.pins.Pin(t.Context(), d, jobs.Build{}, []engine.Image{{Ref: "a:1", Role: jobs.RoleFrom}}, native, &f.notes); err == nil {
		t.Error("Pin succeeded")
	}
}
