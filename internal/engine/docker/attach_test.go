package docker

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// shelf is a registry in this process that wants a login.
type shelf struct {
	addr string
	// image is one that it has, by digest.
	image name.Digest
	auth  authn.Authenticator
	// refuse answers a request with another status, 0 for not; a test sets it before it
	// asks.
	refuse func(*http.Request) int
}

func newShelf(t *testing.T, opts ...registry.Option) *shelf {
	t.Helper()
	s := &shelf{auth: &authn.Basic{Username: "farm", Password: "s3cret"}, refuse: func(*http.Request) int { return 0 }}
	content := registry.New(append(opts, registry.Logger(log.New(io.Discard, "", 0)))...)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch status := s.refuse(r); {
		case user != "farm" || password != "s3cret":
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		case status != 0:
			http.Error(w, `{"errors":[{"code":"UNKNOWN","message":"the shelf is being painted"}]}`, status)
		default:
			content.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.addr = strings.TrimPrefix(server.URL, "http://")
	tag, err := name.NewTag(s.addr + "/attach/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, empty.Image, remote.WithAuth(s.auth)); err != nil {
		t.Fatal(err)
	}
	digest, err := empty.Image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.image = tag.Digest(digest.String())
	return s
}

// engine makes an engine with a password of the registry.
func (s *shelf) engine(t *testing.T, password string) *Engine {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	auth := base64.StdEncoding.EncodeToString([]byte("farm:" + password))
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, s.addr, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := New(nil, Options{Host: "unix:///nowhere", RegistryAuthFile: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// attached is what the registry lists for the image.
func (s *shelf) attached(t *testing.T) []v1.Descriptor {
	t.Helper()
	index, err := remote.Referrers(s.image, remote.WithAuth(s.auth))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Manifests
}

// Registries that list what is attached, and those that do not, have each attachment once.
func TestAttach(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lists bool
	}{{"the registry lists", true}, {"a tag has the list", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t, registry.WithReferrersSupport(tt.lists))
			e := s.engine(t, "s3cret")
			for _, text := range []string{"one", "two", "one"} {
				a := engine.Attachment{MediaType: "application/x-note", Content: []byte(text), Annotations: map[string]string{"note": text}}
				if err := e.Attach(t.Context(), s.image.String(), a); err != nil {
					t.Fatal(err)
				}
			}
			all := s.attached(t)
			if len(all) != 2 {
				t.Fatalf("attached: %+v; want two", all)
			}
			for _, d := range all {
				// The library's registry lists the configuration's type as that of the artifact.
				if !tt.lists && d.ArtifactType != "application/x-note" {
					t.Errorf("listed with artifact type %q", d.ArtifactType)
				}
				img, err := remote.Image(s.image.Digest(d.Digest.String()), remote.WithAuth(s.auth))
				if err != nil {
					t.Fatal(err)
				}
				m, err := img.Manifest()
				if err != nil {
					t.Fatal(err)
				}
				if m.Subject == nil || m.Subject.Digest.String() != s.image.DigestStr() || m.Subject.Size == 0 || m.ArtifactType != "application/x-note" || m.Config.MediaType != emptyConfig {
					t.Errorf("manifest %+v", m)
				}
				layers, err := img.Layers()
				if err != nil || len(layers) != 1 {
					t.Fatalf("layers %v, %v", layers, err)
				}
				content, err := layers[0].Compressed()
				if err != nil {
					t.Fatal(err)
				}
				defer content.Close()
				if text, err := io.ReadAll(content); err != nil || string(text) != m.Annotations["note"] {
					t.Errorf("content %q, %v; want %q", text, err, m.Annotations["note"])
				}
			}
			_, err := remote.Head(s.image.Context().Tag(strings.Replace(s.image.DigestStr(), ":", "-", 1)), remote.WithAuth(s.auth))
			if hasTag := err == nil; hasTag == tt.lists {
				t.Errorf("there is a tag with the list: %t", hasTag)
			}
		})
	}
}

// A registry that refuses is explained as for a push.
func TestNotAttached(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	other := s.image.Context().Digest("sha256:" + strings.Repeat("0", 64)).String()
	put := func(status int) func(*http.Request) int {
		return func(r *http.Request) int {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
				return 0
			}
			return status
		}
	}
	for _, tt := range []struct {
		name, image, password string
		refuse                func(*http.Request) int
		kind                  jobs.Kind
		text                  string
		painted               bool // says the registry
	}{
		{"a wrong password", s.image.String(), "wrong", put(0), jobs.KindRegistryDenied, "denied access", false},
		{"no such image", other, "s3cret", put(0), jobs.KindRegistryRefused, "404 Not Found", false},
		{"not of this type", s.image.String(), "s3cret", put(400), jobs.KindRegistryRefused, "400 Bad Request", true},
		{"unwell", s.image.String(), "s3cret", put(503), jobs.KindRegistryUnavailable, "answered 503", true},
		{"busy", s.image.String(), "s3cret", put(429), jobs.KindRegistryUnavailable, "answered 429", true},
		{"away", "127.0.0.1:1/app@" + s.image.DigestStr(), "s3cret", put(0), jobs.KindRegistryUnavailable, "no answer of a registry came from 127.0.0.1:1", false},
	} {
		t.Run(tt.name, func(t *testing.T) { // one after the other: they share the registry
			s.refuse = tt.refuse
			err := s.engine(t, tt.password).Attach(t.Context(), tt.image, engine.Attachment{MediaType: "application/x-note", Content: []byte(tt.name)})
			if err == nil {
				t.Fatal("it was attached")
			}
			f := jobs.AsFailure(err)
			if f.Kind != tt.kind || !strings.Contains(f.Message, tt.text) {
				t.Errorf("failure %+v; want %s, %q", f, tt.kind, tt.text)
			}
			if tt.painted && !strings.Contains(f.Cause, "being painted") {
				t.Errorf("cause %q; want the registry's words", f.Cause)
			}
		})
	}
}

// A daemon elsewhere has another view of registries.
func TestCanAttach(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{"unix:///nowhere": true, "tcp://192.0.2.1:2376": false} {
		e, err := New(nil, Options{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.CanAttach(); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}
