package docker

import (
	"reflect"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestOptionsOf(t *testing.T) {
	t.Parallel()
	value := func(s string) *string { return &s }
	got := optionsOf(engine.Build{Name: "app:1", CacheSpace: "recipe", Spec: jobs.Build{
		Dockerfile: "docker/app.Dockerfile", Target: "wanted", Platform: "linux/arm64", NoCache: true, Network: "none", Pull: true,
		Args: map[string]string{"A": "1", "EMPTY": "", "BUILDKIT_INLINE_CACHE": "1"}, Labels: map[string]string{"team": "builds", "empty": ""},
		CacheFrom: []string{"app:0", "base:0"}, Tags: []string{"not.mine:1"},
	}})
	args := map[string]*string{"A": value("1"), "EMPTY": value(""), "BUILDKIT_INLINE_CACHE": value("1"), cacheSpaceArg: value("recipe")}
	request := build.ImageBuildOptions{
		Version: build.BuilderBuildKit, Tags: []string{"app:1"}, Remove: true, ForceRemove: true,
		Dockerfile: "docker/app.Dockerfile", Target: "wanted", Platform: "linux/arm64", NoCache: true, NetworkMode: "none", PullParent: true,
		BuildArgs: args, Labels: map[string]string{"team": "builds", "empty": ""}, CacheFrom: []string{"app:0", "base:0"},
	}
	if diff := cmp.Diff(request, got.request); diff != "" {
		t.Errorf("build request (-want +got):\n%s", diff)
	}
	solve := client.SolveOpt{
		Frontend: "dockerfile.v0",
		FrontendAttrs: map[string]string{
			"filename": "docker/app.Dockerfile", "target": "wanted", "platform": "linux/arm64", "no-cache": "", "force-network-mode": "none",
			"image-resolve-mode": "pull", "build-arg:A": "1", "build-arg:EMPTY": "", "build-arg:BUILDKIT_INLINE_CACHE": "1",
			"build-arg:" + cacheSpaceArg: "recipe", "label:team": "builds", "label:empty": "",
		},
		Exports:      []client.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": "app:1"}}},
		CacheImports: []client.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": "app:0"}}, {Type: "registry", Attrs: map[string]string{"ref": "base:0"}}},
		CacheExports: []client.CacheOptionsEntry{{Type: "inline"}},
	}
	if !reflect.DeepEqual(got.solve, solve) {
		t.Errorf("BuildKit's interface gets\n%+v\nwant\n%+v", got.solve, solve)
	}
}

func TestOptionsOfNothing(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"", "default"} {
		got := optionsOf(engine.Build{Name: "app:1", Spec: jobs.Build{Network: network}})
		want := map[string]string{"filename": jobs.DefaultDockerfile, "image-resolve-mode": "local"}
		if diff := cmp.Diff(want, got.solve.FrontendAttrs); diff != "" {
			t.Errorf("attributes with network %q (-want +got):\n%s", network, diff)
		}
	}
}

// TestEveryOption: each field of a document's build arrives on both ways, unless
// it is for another part of the farm.
func TestEveryOption(t *testing.T) {
	t.Parallel()
	elsewhere := map[string]string{
		"Contexts":       "the worker writes images into the Dockerfile, and gives directories as engine.Build.Contexts",
		"HideDockerfile": "the worker reads the Dockerfile and gives it as engine.Build.Dockerfile",
		"Tags":           "the worker names the image after the build",
		"Secrets":        "they travel in the session",
		"SSH":            "the session has agents for the keys",
		"Push":           "the worker pushes after the build",
		"Limits":         "the worker gives them as engine.Build.Limits, with the operator's defaults",
	}
	none := optionsOf(engine.Build{})
	spec := reflect.TypeFor[jobs.Build]()
	for i := range spec.NumField() {
		name := spec.Field(i).Name
		if elsewhere[name] != "" {
			continue
		}
		var b engine.Build
		switch f := reflect.ValueOf(&b.Spec).Elem().Field(i); v := f.Addr().Interface().(type) {
		case *string:
			*v = "some"
		case *bool:
			*v = true
		case *[]string:
			*v = []string{"some"}
		case *map[string]string:
			*v = map[string]string{"some": "thing"}
		default:
			t.Fatalf("give field %s of type %s a value", name, f.Type())
		}
		got := optionsOf(b)
		if reflect.DeepEqual(got.request, none.request) {
			t.Errorf("%s is not in the build request", name)
		}
		if reflect.DeepEqual(got.solve, none.solve) {
			t.Errorf("%s does not reach BuildKit's own interface", name)
		}
	}
}
