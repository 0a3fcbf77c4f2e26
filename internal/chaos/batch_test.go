//go:build integration && chaos

package chaos_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-farm/slipway/internal/farmtest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/oracle"
)

// batch is a handful of images that stand on each other, in a registry, and a base that
// gets a new version.
type batch struct {
	*shelf
	// at is where in the registry the images are.
	at     string
	waves  [][]baked
	images map[string]baked
	// changed is when the base got its new version, base is that.
	changed time.Time
	base    v1.Image
	// before is what the tags of the images had then.
	before map[string]string
}

// baked is an image of a batch.
type baked struct {
	name, dockerfile string
	on               []string // images of the batch that it stands on, the one of FROM first
	tags             []string
}

// waves are images that stand on each other, and on @/base:1, which the farm does not build.
// @ is the batch's place in the registry.
var waves = [][]baked{
	{
		{"os", "FROM @/base:1\nRUN sleep 1; echo os >/os\n", nil, []string{"@/os:1"}},
		{"runtime", "FROM @/base:1\nRUN sleep 1; echo runtime >/runtime\n", nil, []string{"@/runtime:1"}},
	},
	{
		{"web", "FROM @/os:1\nRUN sleep 1; echo web >/web\n", []string{"os"}, []string{"@/web:1"}},
		{"api", "FROM @/runtime:1\nCOPY --from=@/os:1 /os /built-by\nRUN sleep 1\n", []string{"runtime", "os"}, []string{"@/api:1"}},
	},
	{
		{"site", "FROM @/web:1\nCOPY --from=@/api:1 /built-by /api\nRUN sleep 1\n", []string{"web", "api"}, []string{"@/site:1"}},
		{"docs", "FROM @/api:1\nRUN sleep 1; echo docs >/docs\n", []string{"api"}, []string{"@/docs:1", "@/mirror/docs:latest"}},
	},
}

// stock has a farm build images by ordinary jobs, which place submits, waits until it has
// learned the recipes, and changes the base.
func stock(t *testing.T, f *farm, s *shelf, at string, waves [][]baked, place func(task) (id string)) *batch {
	t.Helper()
	b := &batch{shelf: s, at: s.addr + at, waves: waves, images: map[string]baked{}, before: map[string]string{}}
	b.publish(t, "old")
	for _, wave := range waves {
		var ids []string
		for _, img := range wave {
			img.dockerfile = strings.ReplaceAll(img.dockerfile, "@", b.at)
			img.tags = strings.Split(strings.ReplaceAll(strings.Join(img.tags, " "), "@", b.at), " ")
			b.images[img.name] = img
			ids = append(ids, place(must(img.task(f.dir))(t)))
		}
		for _, id := range ids {
			if job := f.ended(id, 2*time.Minute); job.State != jobs.Succeeded {
				t.Fatalf("an image that others stand on: %s, %+v", job.State, job.Result)
			}
		}
	}
	farmtest.Eventually(t, time.Minute, "the farm has learned the recipes", func() error {
		recipes, err := f.records.AllRecipes(t.Context())
		if err == nil && len(recipes) < len(b.images) {
			err = fmt.Errorf("it has %d of %d", len(recipes), len(b.images))
		}
		return err
	})
	for _, img := range b.images {
		for _, tag := range img.tags {
			all := s.under(tag, time.Time{})
			b.before[tag] = all[len(all)-1].digest
		}
	}
	b.changed = time.Now()
	b.base = b.publish(t, "new")
	return b
}

// task is the job that builds an image for the first time.
func (img baked) task(dir string) (task, error) {
	flags := []string{"--idempotency-key", "image-" + img.name, "--name", img.name, "--push"}
	for _, tag := range img.tags {
		flags = append(flags, "-t", tag)
	}
	args, err := directory(dir, img.name, img.dockerfile, flags...)
	return task{oracle.Task{Key: "image-" + img.name, Does: "builds the image " + img.name, State: jobs.Succeeded}, args}, err
}

// publish pushes a version of the base.
func (b *batch) publish(t *testing.T, version string) v1.Image {
	t.Helper()
	text := must(oneFile("version", version))(t)
	img := must(mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Config: v1.Config{Env: []string{"PATH=/bin"}}, RootFS: v1.RootFS{Type: "layers"},
	}))(t)
	for _, raw := range [][]byte{must(hosttest.BusyboxLayer(t.Context()))(t), text} {
		layer := must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }))(t)
		img = must(mutate.AppendLayers(img, layer))(t)
	}
	if err := remote.Write(must(name.NewTag(b.baseTag()))(t), img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return img
}

func (b *batch) baseTag() string { return b.at + "/base:1" }

func oneFile(name, content string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return nil, err
	}
	return buf.Bytes(), w.Close()
}

// layers are the digests of what the layers of an image hold, the lowest first.
func (b *batch) layers(ctx context.Context, tag string) ([]v1.Hash, error) {
	ref, err := name.NewTag(tag)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	return layersOf(img)
}

func layersOf(img v1.Image) ([]v1.Hash, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	return config.RootFS.DiffIDs, nil
}

// standsOn reports whether an image with these layers begins with those of another.
func standsOn(layers, below []v1.Hash) bool {
	return len(layers) > len(below) && slices.Equal(layers[:len(below)], below)
}
