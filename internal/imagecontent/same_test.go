package imagecontent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/klauspost/compress/zstd"
)

// tree has one entry of each type.
func tree() []item {
	attr := plain("usr/bin/ping", "ping")
	attr.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
	return []item{
		dir("usr/"), dir("usr/bin/"), plain("usr/bin/sh", "shell"), hardlink("usr/bin/ash", "usr/bin/sh"), symlink("usr/bin/bash", "sh"), attr,
		{Header: tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "run/pipe", Mode: 0o600}},
		plain("etc/.wh.motd", ""), plain("empty", ""), plain("long/"+strings.Repeat("n", 200), "long"),
	}
}

func TestSameEntries(t *testing.T) {
	t.Parallel()
	change := func(name string, change func(*item)) func([]item) []item {
		return func(items []item) []item {
			i := slices.IndexFunc(items, func(it item) bool { return it.Name == name })
			change(&items[i])
			return items
		}
	}
	for _, tt := range []struct {
		name   string
		change func([]item) []item
		want   bool
	}{
		{"times", func(items []item) []item { return items }, true},
		{"times in PAX records", change("usr/bin/sh", func(it *item) {
			it.Format, it.AccessTime, it.ChangeTime = tar.FormatPAX, time.Unix(1, 5), time.Unix(2, 6)
		}), true},
		{"order", func(items []item) []item { return slices.Concat(items[6:], items[:6]) }, true},
		{"./ before paths", func(items []item) []item {
			for i := range items {
				items[i].Name = "./" + items[i].Name
			}
			return items
		}, true},
		{"/ before paths", func(items []item) []item {
			for i := range items {
				items[i].Name = "/" + items[i].Name
			}
			return items
		}, true},
		{"owner's names", change("usr/bin/sh", func(it *item) { it.Uname, it.Gname = "root", "wheel" }), true},
		{"type in the mode", change("usr/bin/sh", func(it *item) { it.Mode |= 0o100000 }), true},
		{"device of a plain file", change("usr/bin/sh", func(it *item) { it.Devminor = 1 }), true},
		{"PAX record of another kind", change("usr/bin/sh", func(it *item) { it.PAXRecords = map[string]string{"VENDOR.note": "x"} }), true},
		{"a global header", func(items []item) []item {
			return append([]item{{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}}}, items...)
		}, true},
		{"a directory twice, alike", func(items []item) []item { return append(items, dir("usr")) }, true},
		{"hard link's target with ./", change("usr/bin/ash", func(it *item) { it.Linkname = "./usr/bin/sh" }), true},
		{"a plain file of another type", change("usr/bin/sh", func(it *item) { it.Typeflag = tar.TypeCont }), true},

		{"mode", change("usr/bin/sh", func(it *item) { it.Mode = 0o755 }), false},
		{"set-user-ID", change("usr/bin/sh", func(it *item) { it.Mode |= 0o4000 }), false},
		{"mode of a directory", change("usr/", func(it *item) { it.Mode = 0o700 }), false},
		{"user", change("usr/bin/sh", func(it *item) { it.Uid = 1 }), false},
		{"group", change("usr/bin/sh", func(it *item) { it.Gid = 1 }), false},
		{"one byte", change("usr/bin/sh", func(it *item) { it.text = "shelk" }), false},
		{"a byte more", change("usr/bin/sh", func(it *item) { it.text = "shell\x00" }), false},
		{"path", change("usr/bin/sh", func(it *item) { it.Name = "usr/bin/sH" }), false},
		{"symbolic link's target", change("usr/bin/bash", func(it *item) { it.Linkname = "./sh" }), false},
		{"hard link's target", change("usr/bin/ash", func(it *item) { it.Linkname = "usr/bin/ping" }), false},
		{"hard link ahead of its target", func(items []item) []item {
			items[2], items[3] = items[3], items[2]
			return items
		}, false},
		{"a copy for a hard link", change("usr/bin/ash", func(it *item) { *it = plain("usr/bin/ash", "shell") }), false},
		{"a symbolic link for a hard link", change("usr/bin/ash", func(it *item) { it.Typeflag = tar.TypeSymlink }), false},
		{"a directory for a file", change("empty", func(it *item) { it.Typeflag = tar.TypeDir }), false},
		{"device", change("dev/null", func(it *item) { it.Devminor = 5 }), false},
		{"kind of device", change("dev/null", func(it *item) { it.Typeflag = tar.TypeBlock }), false},
		{"attribute", change("usr/bin/ping", func(it *item) {
			it.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x03"}
		}), false},
		{"no attribute", change("usr/bin/ping", func(it *item) { it.PAXRecords = nil }), false},
		{"a whiteout less", func(items []item) []item {
			return slices.DeleteFunc(items, func(it item) bool { return it.Name == "etc/.wh.motd" })
		}, false},
		{"an entry more", func(items []item) []item { return append(items, dir("new")) }, false},
		{"a directory of its own", func(items []item) []item { return append(items, dir("long")) }, false},
		{"nothing", func([]item) []item { return nil }, false},
		{"a directory twice, not alike", func(items []item) []item {
			return append(items, with(dir("usr"), func(it *item) { it.Mode = 0o700 }))
		}, false},
		{"a file twice", func(items []item) []item { return append(items, plain("empty", "")) }, false},
		{"a path that is too long", func(items []item) []item {
			return append(items, plain(strings.Repeat("d/", maxPath/2)+"f", ""))
		}, false},
		{"below a file", func(items []item) []item { return append(items, plain("empty/file", "")) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := image(t, tree()), image(t, later(tt.change(tree())))
			wantSame(t, a, b, tt.want)
		})
	}
}

// wantSame compares both ways.
func wantSame(t *testing.T, a, b v1.Image, want bool) {
	t.Helper()
	for _, pair := range [][2]v1.Image{{a, b}, {b, a}} {
		if got, err := Same(t.Context(), pair[0], pair[1]); got != want || err != nil {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

// Contents of which the order matters are the same as none but themselves.
func TestSameOrdered(t *testing.T) {
	t.Parallel()
	for name, items := range map[string][]item{
		"a file twice":       {plain("a", "1"), plain("a", "1")},
		"below a file":       {symlink("a", "b"), plain("a/b/c", "")},
		"a file for a dir":   {plain("a/b/c", ""), symlink("a", "b")},
		"a file for a dir/":  {dir("a"), symlink("a", "b")},
		"a root that is one": {plain("a", "1"), symlink(".", "b")},
		"a path too long":    {plain(strings.Repeat("d/", maxPath/2)+"f", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantSame(t, image(t, items), image(t, items), true)
			wantSame(t, image(t, items), image(t, later(items)), false)
		})
	}
}

func TestSameLayers(t *testing.T) {
	t.Parallel()
	one, two, three := []item{plain("1", "1")}, []item{plain("2", "2")}, []item{plain("3", "3")}
	list := func(layers ...[]item) [][]item { return layers }
	for _, tt := range []struct {
		name string
		a, b [][]item
		want bool
	}{
		{"none", nil, nil, true},
		{"alike", list(one, two), list(one, two), true},
		{"other times", list(one, two, three), list(one, later(two), later(three)), true},
		{"the order of layers", list(one, two), list(two, one), false},
		{"one less", list(one, two), list(one), false},
		{"none for one", list(one), nil, false},
		{"split in two", list(slices.Concat(one, two)), list(one, two), false},
		{"another in between", list(one, two, three), list(one, three), false},
		{"empty below", list(nil, one), list(later(one)), true},
		{"empty above", list(one, nil, nil), list(later(one)), true},
		{"empty between", list(one, nil, two), list(later(one), later(two)), true},
		{"empty in both", list(nil, one, two), list(one, nil, later(two)), true},
		{"empty, all of them", list(nil, nil), nil, true},
		{"alike behind an empty one", list(one, two), list(nil, one, two), true},
		{"a file twice, behind an empty one", list(slices.Concat(one, one)), list(nil, slices.Concat(one, one)), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantSame(t, image(t, tt.a...), image(t, tt.b...), tt.want)
		})
	}
}

func TestSameConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*v1.ConfigFile)
		want   bool
	}{
		{"created", func(c *v1.ConfigFile) { c.Created = v1.Time{Time: time.Unix(1, 0)} }, true},
		{"author", func(c *v1.ConfigFile) { c.Author = "me" }, true},
		{"history", func(c *v1.ConfigFile) { c.History = []v1.History{{CreatedBy: "RUN"}} }, true},
		{"container", func(c *v1.ConfigFile) { c.Container, c.Config.Hostname, c.Config.Image = "c", "h", "i" }, true},
		{"label created", func(c *v1.ConfigFile) { c.Config.Labels["org.opencontainers.image.created"] = "now" }, true},
		{"label base.digest", func(c *v1.ConfigFile) { c.Config.Labels["org.opencontainers.image.base.digest"] = "d" }, true},
		{"empty list", func(c *v1.ConfigFile) { c.Config.OnBuild = []string{} }, true},
		{"time of a health check that is none", func(c *v1.ConfigFile) { c.Config.Healthcheck.Interval = 0 }, true},

		{"label base.name", func(c *v1.ConfigFile) { c.Config.Labels["org.opencontainers.image.base.name"] = "debian" }, false},
		{"label revision", func(c *v1.ConfigFile) { c.Config.Labels["org.opencontainers.image.revision"] = "2" }, false},
		{"label without a value", func(c *v1.ConfigFile) { c.Config.Labels["a"] = "" }, false},
		{"env", func(c *v1.ConfigFile) { c.Config.Env[0] = "PATH=/" }, false},
		{"order of env", func(c *v1.ConfigFile) { slices.Reverse(c.Config.Env) }, false},
		{"cmd", func(c *v1.ConfigFile) { c.Config.Cmd = []string{"sh", ""} }, false},
		{"entrypoint", func(c *v1.ConfigFile) { c.Config.Entrypoint = []string{"sh"} }, false},
		{"user", func(c *v1.ConfigFile) { c.Config.User = "1" }, false},
		{"workdir", func(c *v1.ConfigFile) { c.Config.WorkingDir = "/w" }, false},
		{"volumes", func(c *v1.ConfigFile) { c.Config.Volumes = map[string]struct{}{"/v": {}} }, false},
		{"ports", func(c *v1.ConfigFile) { c.Config.ExposedPorts = map[string]struct{}{"1/tcp": {}} }, false},
		{"stop signal", func(c *v1.ConfigFile) { c.Config.StopSignal = "HUP" }, false},
		{"health check", func(c *v1.ConfigFile) { c.Config.Healthcheck.Timeout = 1<<62 + 1 }, false},
		{"shell", func(c *v1.ConfigFile) { c.Config.Shell = []string{"sh"} }, false},
		{"onbuild", func(c *v1.ConfigFile) { c.Config.OnBuild = []string{"RUN"} }, false},
		{"OS", func(c *v1.ConfigFile) { c.OS = "plan9" }, false},
		{"architecture", func(c *v1.ConfigFile) { c.Architecture = "arm64" }, false},
		{"variant", func(c *v1.ConfigFile) { c.Variant = "v8" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := func() *v1.ConfigFile {
				return &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{
					Env: []string{"PATH=/bin", "A=1"}, Cmd: []string{"sh"}, Labels: map[string]string{"org.opencontainers.image.revision": "1"},
					Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}, Timeout: 1 << 62},
				}}
			}
			changed := config()
			tt.change(changed)
			wantSame(t, configured(t, config()), configured(t, changed), tt.want)
		})
	}
}

func configured(t *testing.T, config *v1.ConfigFile) v1.Image {
	t.Helper()
	img, err := mutate.ConfigFile(image(t), config)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// rawConfig is an image with a config that has fields which the library does not know.
type rawConfig struct {
	v1.Image
	text string
}

func (r rawConfig) RawConfigFile() ([]byte, error) { return []byte(r.text), nil }

func TestSameRawConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{`{"config":{"Cmd":null,"Healthcheck":{},"Labels":{}}}`, `{}`, true},
		{`{"config":{"Healthcheck":{"StartInterval":5}}}`, `{"config":{"Healthcheck":{"StartInterval":6}}}`, false},
		{`{"config":{"StopTimeout":5}}`, `{"config":{}}`, false},
		{`{"config":{"StopTimeout":0,"Labels":{"org.opencontainers.image.created":"x"}}}`, `{"config":null}`, true},
		{`{"moby.buildkit.buildinfo.v1":"x","docker_version":"28","container_config":{"Cmd":["x"]}}`, `{}`, true},
	} {
		wantSame(t, rawConfig{image(t), tt.a}, rawConfig{image(t), tt.b}, tt.want)
	}
	if _, err := Same(t.Context(), rawConfig{image(t), "{"}, image(t)); err == nil {
		t.Error("a config that is cut off was read")
	}
}

func TestSameCompression(t *testing.T) {
	t.Parallel()
	text := archive(t, tree()...)
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	other := image(t, later(tree()))
	for _, text := range [][]byte{text, gz.Bytes(), zst.Bytes()} {
		wantSame(t, imageOf(t, packed(t, text)), other, true)
	}
}

// Damage is an error, on either side, and never the same.
func TestSameDamaged(t *testing.T) {
	t.Parallel()
	text := archive(t, plain("a", strings.Repeat("a", 1000)), plain("b", "b"))
	good := blob(text)
	compressed, err := packed(t, text).Compressed()
	if err != nil {
		t.Fatal(err)
	}
	gz, err := io.ReadAll(compressed)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]v1.Layer{
		"cut off in a header":      instead(good, text[:300]),
		"cut off in a file":        instead(good, text[:1000]),
		"cut off between entries":  instead(good, text[:512+1024]),
		"cut off behind entries":   instead(good, text[:len(text)-512]),
		"something behind its end": instead(good, slices.Concat(text, make([]byte, 512))),
		"no archive":               blob(bytes.Repeat([]byte("x"), 1024)),
		"nothing":                  instead(good, nil),
		"compressed and cut off":   replaced{good, func() (io.ReadCloser, error) { return gzip.NewReader(bytes.NewReader(gz[:len(gz)-9])) }},
		"not to be opened":         replaced{good, func() (io.ReadCloser, error) { return nil, errors.New("gone") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			damaged, other := imageOf(t, bad), image(t, later([]item{plain("a", strings.Repeat("a", 1000)), plain("b", "b")}))
			for _, pair := range [][2]v1.Image{{damaged, other}, {other, damaged}} {
				same, err := Same(t.Context(), pair[0], pair[1])
				if same || err == nil || !strings.Contains(err.Error(), "layer 1 of 1 (sha256:") {
					t.Errorf("got %v, %v; want an error that names the layer", same, err)
				}
			}
		})
	}
}

type unlisted struct{ v1.Image }

func (unlisted) Layers() ([]v1.Layer, error) { return nil, nil }

func TestSameLayersMissing(t *testing.T) {
	t.Parallel()
	img := image(t, tree())
	if same, err := Same(t.Context(), img, unlisted{img}); same || err == nil || !strings.Contains(err.Error(), "names 1, its manifest 0") {
		t.Errorf("got %v, %v", same, err)
	}
}

// What is alike by its DiffID is not read, and nothing is behind a difference.
func TestSameReadsNoMore(t *testing.T) {
	t.Parallel()
	var read bool
	unread := func(items ...item) v1.Layer {
		return replaced{blob(archive(t, items...)), func() (io.ReadCloser, error) {
			read = true
			return nil, errors.New("read")
		}}
	}
	first := unread(tree()...)
	wantSame(t, imageOf(t, first), imageOf(t, first), true)
	wantSame(t, imageOf(t, first, blob(archive(t, dir("a"))), unread(dir("b"))), imageOf(t, first, blob(archive(t, dir("c"))), unread(dir("d"))), false)
	if read {
		t.Error("a layer was read")
	}
}

func TestSameCancelled(t *testing.T) {
	t.Parallel()
	img, other := image(t, tree()), image(t, later(tree()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if same, err := Same(ctx, img, img); same || !errors.Is(err, context.Canceled) {
		t.Errorf("before the beginning: got %v, %v", same, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	l := blob(archive(t, tree()...))
	stops := replaced{l, func() (io.ReadCloser, error) {
		cancel()
		return l.Uncompressed()
	}}
	if same, err := Same(ctx, imageOf(t, stops), other); same || !errors.Is(err, context.Canceled) {
		t.Errorf("in the middle: got %v, %v", same, err)
	}
}

func TestSameBound(t *testing.T) {
	t.Parallel()
	items := tree()
	a, b := image(t, items), image(t, later(items))
	nodes := func(img v1.Image) int {
		layers, err := layersOf(img)
		if err != nil {
			t.Fatal(err)
		}
		c, err := contentsOf(t.Context(), layers[0], 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(c.nodes)
	}
	need := nodes(a)
	for most, want := range map[int]bool{need: true, need - 1: false} {
		if got, err := same(t.Context(), a, b, most); got != want || err != nil {
			t.Errorf("%d paths, at most %d: got %v, %v", need, most, got, err)
		}
	}
	part := image(t, items[:len(items)-2])
	for _, pair := range [][2]v1.Image{{a, part}, {part, a}} {
		if got, err := same(t.Context(), pair[0], pair[1], nodes(part)-1); got || err != nil {
			t.Errorf("as far as the bound: got %v, %v", got, err)
		}
	}
	if got, err := same(t.Context(), a, a, 1); !got || err != nil {
		t.Errorf("the same DiffID: got %v, %v", got, err)
	}
}

func TestSameRandomImages(t *testing.T) {
	t.Parallel()
	a, err := random.Image(100, 3)
	if err != nil {
		t.Fatal(err)
	}
	b, err := random.Image(100, 3)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, a, a, true)
	wantSame(t, a, b, false)
}

// Whatever the order and the times, contents are the same; with one byte flipped they are
// not.
func TestSameProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var items []item
		for i := range 1 + rnd.IntN(20) {
			name := fmt.Sprintf("%c/%d", 'a'+rune(rnd.IntN(4)), i)
			switch rnd.IntN(6) {
			case 0:
				items = append(items, dir(name))
			case 1:
				items = append(items, symlink(name, fmt.Sprint(rnd.IntN(9))))
			default:
				items = append(items, with(plain(name, fmt.Sprint(rnd.Uint64())), func(it *item) { it.Mode, it.Uid = int64(rnd.IntN(0o10000)), rnd.IntN(3) }))
			}
		}
		items = append(items, plain("last", "x"))
		shuffled := later(items)
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i := range shuffled {
			shuffled[i].ModTime = time.Unix(rnd.Int64N(1<<31), 0)
		}
		a := image(t, items)
		if got, err := Same(t.Context(), a, image(t, shuffled)); !got || err != nil {
			t.Errorf("seed %d: shuffled: got %v, %v", seed, got, err)
		}
		files := slices.DeleteFunc(slices.Clone(shuffled), func(it item) bool { return it.text == "" })
		victim := files[rnd.IntN(len(files))].Name
		for i := range shuffled {
			if shuffled[i].Name == victim {
				text := []byte(shuffled[i].text)
				text[rnd.IntN(len(text))] ^= 1 << rnd.IntN(8)
				shuffled[i].text = string(text)
			}
		}
		if got, err := Same(t.Context(), a, image(t, shuffled)); got || err != nil {
			t.Errorf("seed %d: flipped in %s: got %v, %v", seed, victim, got, err)
		}
	}
}
