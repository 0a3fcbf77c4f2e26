package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// alpine is an image with a package database.
func alpine(t *testing.T, installed string) v1.Image {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "lib/apk/db/installed", Mode: 0o644, Size: int64(len(installed))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(tw, installed); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// A report has the packages that differ, or why it has none.
func TestReportPackages(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	tag := strings.TrimPrefix(srv.URL, "http://") + "/app:1"
	push := func(installed string) (digest string) {
		t.Helper()
		ref, err := name.ParseReference(tag)
		if err != nil {
			t.Fatal(err)
		}
		image := alpine(t, installed)
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
		d, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	from := push("P:musl\nV:1.2.5-r0\nA:x86_64\n\nP:old\nV:1\nA:x86_64\n\n")
	to := push("P:musl\nV:1.2.5-r1\nA:x86_64\n\nP:new\nV:2\nA:x86_64\n\n")
	image := func(from, to string) reportImage {
		return reportImage{RebuildImage: jobs.RebuildImage{Name: "app", State: jobs.ImageDone, Moves: []jobs.TagMove{{Tag: tag, From: from, To: to, Known: true}}}}
	}
	doc := reportDoc{Images: []reportImage{image(from, to), image(from, from), image("sha256:"+strings.Repeat("0", 64), to), image("", to)}}
	doc.readPackages(t.Context())
	text := doc.markdown()
	for _, want := range []string{
		"| musl | 1.2.5-r0 | 1.2.5-r1 |\n| new | | 2 |\n| old | 1 | |\n", "\nNo package has changed.\n",
		"\nNot read: read the packages of ", "MANIFEST_UNKNOWN", "/app:1 | none | " + to,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}
