package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/provenance"
)

// attested is a registry with images, and with what is attached to them.
type attested struct {
	t    *testing.T
	addr string
}

func newAttested(t *testing.T, opts ...registry.Option) attested {
	t.Helper()
	srv := httptest.NewServer(registry.New(append(opts, registry.Logger(log.New(io.Discard, "", 0)))...))
	t.Cleanup(srv.Close)
	return attested{t, strings.TrimPrefix(srv.URL, "http://")}
}

// push makes an image that no other is, and returns its digest.
func (a attested) push(tag string) name.Digest {
	a.t.Helper()
	ref, err := name.NewTag(a.addr + "/" + tag)
	if err != nil {
		a.t.Fatal(err)
	}
	image := mutate.Annotations(mutate.MediaType(empty.Image, types.OCIManifestSchema1), map[string]string{"tag": tag}).(v1.Image)
	if err := remote.Write(ref, image); err != nil {
		a.t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		a.t.Fatal(err)
	}
	return ref.Digest(digest.String())
}

// attach attaches content to an image.
func (a attested) attach(to name.Digest, mediaType string, content []byte) {
	a.t.Helper()
	subject, err := remote.Head(to)
	if err != nil {
		a.t.Fatal(err)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(content, types.MediaType(mediaType)))
	if err != nil {
		a.t.Fatal(err)
	}
	img = mutate.Subject(img, *subject).(v1.Image)
	digest, err := img.Digest()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := remote.Write(to.Context().Digest(digest.String()), img); err != nil {
		a.t.Fatal(err)
	}
}

// attest attaches the provenance of images, signed with a key unless that is nil.
func (a attested) attest(to name.Digest, job string, key ed25519.PrivateKey, images ...name.Digest) {
	a.t.Helper()
	var pushed []string
	for _, i := range images {
		pushed = append(pushed, i.String())
	}
	began := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	d, err := provenance.Seal(a.t.Context(), provenance.New(provenance.Build{
		Job: jobs.Job{ID: job, Spec: jobs.Spec{Context: &jobs.Context{Ref: "cas:sha256:" + strings.Repeat("c", 64)}, Build: &jobs.Build{}}},
		Result: jobs.Result{RepoDigests: pushed, Engine: "docker 29.1.0", Host: "host-1", Attempt: 1, Bases: []jobs.BaseImage{
			{Ref: "docker.io/library/debian:12", Role: jobs.RoleFrom, Digest: "sha256:" + strings.Repeat("d", 64)},
		}},
		Farm: "default", Version: "v1", Began: began, Ended: began.Add(time.Minute),
	}), key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.attach(to, d.MediaType, d.Content)
}

// publicKey writes the public half of a key.
func publicKey(t *testing.T, key ed25519.PrivateKey) (file string) {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// enqueue runs the program without a farm.
func (a attested) enqueue(args ...string) (code int, stdout, stderr string) {
	a.t.Helper()
	f, err := newFarm(a.t, a.t.TempDir(), farmOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.close()
	var out, errOut bytes.Buffer
	code = f.app(process{getenv: func(string) string { return "" }, stdin: strings.NewReader(""), stdout: &out, stderr: &errOut}).run(a.t.Context(), args)
	return code, out.String(), errOut.String()
}

// Of all that is attached to an image, what the key has signed counts.
func TestProvenance(t *testing.T) {
	t.Parallel()
	ours := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	theirs := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	for _, tt := range []struct {
		name  string
		lists bool
	}{{"the registry lists", true}, {"a tag has the list", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAttested(t, registry.WithReferrersSupport(tt.lists))
			app, other, bare := a.push("app:1"), a.push("app:2"), a.push("app:3")
			a.attest(app, "signed", ours, app)
			a.attest(app, "forged", theirs, app)
			a.attest(app, "unsigned", nil, app)
			a.attest(app, "moved", ours, other)
			a.attach(app, "application/x-sbom", []byte("{}"))
			a.attach(app, provenance.MediaTypeEnvelope, []byte("no envelope"))
			image, key := a.addr+"/app:1", publicKey(t, ours)

			code, out, errOut := a.enqueue("provenance", image, "--key", key)
			if code != jobs.ExitOK || errOut != "" {
				t.Fatalf("exit code %d, %s", code, errOut)
			}
			for _, want := range []string{
				app.String() + "\n\nsigned     with the key, ", "in         signed-a1\n", "built by   " + provenance.BuilderID("default", "host-1") + ", slipway v1\n",
				"with       docker 29.1.0\n", "at         2026-11-30T09:00:00Z to 2026-11-30T09:01:00Z\n",
				"context    cas:sha256:" + strings.Repeat("c", 64) + "\n", "from       pkg:docker/debian@12 sha256:" + strings.Repeat("d", 64) + "\n",
				": no signature of it is of this key\n", ": it is not signed\n", ": it is on another image\n", ": read the envelope: ",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, "forged-a1") || strings.Contains(out, "moved-a1") || strings.Count(out, "left out: ") != 4 {
				t.Errorf("output:\n%s\nwant what the key has signed, and why four are left out", out)
			}

			if code, out, _ = a.enqueue("provenance", app.String()); code != jobs.ExitOK || strings.Count(out, "-a1\n") != 3 || strings.Count(out, "not verified; it names the key ") != 2 {
				t.Errorf("without a key: exit code %d\n%s", code, out)
			}
			code, out, _ = a.enqueue("provenance", image, "--key", key, "-o", "json")
			var doc struct {
				Image      string
				Provenance []struct {
					Verified  bool
					KeyIDs    []string `json:"key_ids"`
					Statement provenance.Statement
				}
				Left []string `json:"left_out"`
			}
			if err := json.Unmarshal([]byte(out), &doc); err != nil || code != jobs.ExitOK {
				t.Fatalf("exit code %d, %v: %s", code, err, out)
			}
			if doc.Image != app.String() || len(doc.Provenance) != 1 || !doc.Provenance[0].Verified || len(doc.Provenance[0].KeyIDs) != 1 || !doc.Provenance[0].Statement.Of(app.DigestStr()) || len(doc.Left) != 4 {
				t.Errorf("document %+v", doc)
			}

			if code, _, errOut = a.enqueue("provenance", bare.String()); code != jobs.ExitFailed || !strings.Contains(errOut, "has no provenance") || !strings.Contains(errOut, "--provenance") {
				t.Errorf("an image without: exit code %d, %s", code, errOut)
			}
			a.attest(bare, "forged", theirs, bare)
			if code, _, errOut = a.enqueue("provenance", bare.String(), "--key", key); code != jobs.ExitFailed || !strings.Contains(errOut, "has no provenance that is signed with the key") || !strings.Contains(errOut, "no signature of it is of this key") {
				t.Errorf("an image with another's: exit code %d, %s", code, errOut)
			}
		})
	}
}

// What cannot be looked at is explained.
func TestProvenanceUsage(t *testing.T) {
	t.Parallel()
	a := newAttested(t)
	image := a.push("app:1").String()
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no image", nil, jobs.ExitUsage, "takes one image, found 0 arguments"},
		{"two images", []string{image, image}, jobs.ExitUsage, "takes one image, found 2 arguments"},
		{"no name", []string{"A B"}, jobs.ExitUsage, `"A B" is not the name of an image`},
		{"not there", []string{a.addr + "/app:none"}, jobs.ExitUsage, "the registry has no image " + a.addr + "/app:none"},
		{"no registry", []string{"127.0.0.1:1/app:1"}, jobs.ExitInfra, "connection refused"},
		{"no key", []string{image, "--key", "/none"}, jobs.ExitUsage, "--key: read the key: open /none: no such file"},
		{"a format of nothing", []string{image, "-o", "xml"}, jobs.ExitUsage, "unknown format"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if code, _, errOut := a.enqueue(append([]string{"provenance"}, tt.args...)...); code != tt.code || !strings.Contains(errOut, tt.want) {
				t.Errorf("exit code %d, %s; want %d, %q", code, errOut, tt.code, tt.want)
			}
		})
	}
}
