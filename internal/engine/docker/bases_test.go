package docker

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-farm/slipway/internal/engine"
)

// TestResolved reads from the names of vertices, as engine 20.10 and newer ones write
// them, which reference led to which digest.
func TestResolved(t *testing.T) {
	t.Parallel()
	one, two := "@sha256:"+strings.Repeat("1", 64), "@sha256:"+strings.Repeat("2", 64)
	const asked, r = "[internal] load metadata for ", "r.example/"
	for _, tt := range []struct {
		name     string
		vertices []string
		images   []string // that the Dockerfile names
		want     []string // reference, then what it stood for
	}{
		{"with a tag", []string{asked + r + "a:1", "[1/2] FROM " + r + "a:1" + one}, []string{r + "a:1"}, []string{r + "a:1 " + one}},
		{"without a tag", []string{asked + r + "a:latest", "FROM " + r + "a:latest" + one}, []string{r + "a"}, []string{r + "a:latest " + one}},
		{"without a tag, 20.10", []string{asked + r + "a:latest", "FROM " + r + "a" + one}, []string{r + "a"}, []string{r + "a:latest " + one}},
		{"by digest", []string{asked + r + "a" + one, "FROM " + r + "a" + one}, []string{r + "a" + one}, []string{r + "a" + one + " " + one}},
		{"copy, 20.10", []string{"FROM " + r + "a:1"}, []string{r + "a:1"}, []string{r + "a:1 "}},
		{"copy by digest, 20.10", []string{"FROM " + r + "a" + one}, []string{r + "a" + one}, []string{r + "a" + one + " " + one}},
		{"of a trigger", []string{"FROM " + r + "a:1" + one}, nil, []string{r + "a:1 " + one}},
		{
			"tag beside its digest",
			[]string{asked + r + "a:1", "FROM " + r + "a:1" + one},
			[]string{r + "a:1", r + "a:1" + one},
			[]string{r + "a:1 " + one, r + "a:1" + one + " " + one},
		},
		{
			"tag beside another digest",
			[]string{asked + r + "a:1", "FROM " + r + "a:1" + one, "FROM " + r + "a:1" + two},
			[]string{r + "a:1", r + "a:1" + two},
			[]string{r + "a:1 " + one, r + "a:1" + two + " " + two},
		},
		{
			"tag on the host beside a digest",
			[]string{asked + r + "a:1", "FROM " + r + "a:1", "FROM " + r + "a:1" + one},
			[]string{r + "a:1", r + "a:1" + one},
			[]string{r + "a:1 ", r + "a:1" + one + " " + one},
		},
		{
			"tag beside two digests",
			[]string{asked + r + "a:1", "FROM " + r + "a:1" + one, "FROM " + r + "a:1" + two},
			[]string{r + "a:1", r + "a:1" + one, r + "a:1" + two},
			[]string{r + "a:1 ", r + "a:1" + one + " " + one, r + "a:1" + two + " " + two},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trace := newTrace(nil)
			for _, name := range tt.vertices {
				if err := trace.add(&client.SolveStatus{Vertexes: []*client.Vertex{{Name: name, Digest: digest.FromString(name)}}}); err != nil {
					t.Fatal(err)
				}
			}
			var images []engine.Image
			for _, ref := range tt.images {
				images = append(images, engine.Image{Ref: ref})
			}
			var got []string
			for _, r := range trace.resolved(images) {
				if _, pin, _ := strings.Cut(r.ref, "@"); r.pinned != (pin != "") {
					t.Errorf("%s: pinned = %v", r.ref, r.pinned)
				}
				digest := ""
				if r.digest != "" {
					digest = "@" + r.digest
				}
				got = append(got, r.ref+" "+digest)
			}
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(tt.want))) {
				t.Errorf("resolved = %q, want %q", got, tt.want)
			}
		})
	}
}
