//go:build integration

package docker

import (
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
)

// formLabel marks a build in BuildKit's history.
const formLabel = "slipway.form"

// provenance lists the images that BuildKit itself recorded as the materials of a build,
// each as its digest and platform, sorted. Engine 20.10 keeps no such record. It has no
// frontends, and of one name only the first image.
func provenance(t *testing.T, e *Engine, label string) []string {
	t.Helper()
	bk, err := e.dialControl(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bk.Close()
	history, err := bk.ControlClient().ListenBuildHistory(t.Context(), &control.BuildHistoryRequest{EarlyExit: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		event, err := history.Recv()
		if err != nil {
			t.Fatalf("no record of the build %s: %v", label, err)
		}
		if r := event.Record; r.FrontendAttrs["label:"+formLabel] == label && r.Result != nil && len(r.Result.Attestations) > 0 {
			return materialsIn(t, readBlob(t, bk, r.Result.Attestations[0].Digest))
		}
	}
}

// materialsIn lists the images of a provenance, of either version of SLSA.
func materialsIn(t *testing.T, raw []byte) (images []string) {
	t.Helper()
	type material struct {
		URI    string
		Digest map[string]string
	}
	var p struct {
		Materials       []material
		BuildDefinition struct{ ResolvedDependencies []material }
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	for _, m := range append(p.Materials, p.BuildDefinition.ResolvedDependencies...) {
		if at, err := url.Parse(m.URI); err == nil && strings.HasPrefix(m.URI, "pkg:docker/") {
			images = append(images, "sha256:"+m.Digest["sha256"]+" "+at.Query().Get("platform"))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(images)))
}

func readBlob(t *testing.T, bk *client.Client, digest string) (all []byte) {
	t.Helper()
	blob, err := bk.ContentClient().Read(t.Context(), &contentapi.ReadContentRequest{Digest: digest})
	if err != nil {
		t.Fatal(err)
	}
	for {
		part, err := blob.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, part.Data...)
	}
}
