//go:build integration

package docker

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestAttachToPushed attaches to what the daemon has pushed to a registry that wants a login.
func TestAttachToPushed(t *testing.T) {
	t.Parallel()
	login := hosttest.Login{User: "farm", Password: "s3cret"}
	addr := hosttest.StartRegistry(t, host, login)
	e := open(t, host, Options{RegistryAuthFile: loginFile(t, addr, login)})
	made, err := tryBuild(t, e, "FROM busybox:latest\nRUN echo 1 > /made\n", jobs.Build{Tags: []string{"attach-app:1"}})
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := e.Push(t.Context(), made.ImageID, addr+"/attach/app:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more does no harm
		if err := e.Attach(t.Context(), pushed, engine.Attachment{MediaType: "application/x-note", Content: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	repo, digest, _ := strings.Cut(pushed, "@")
	ref, err := name.NewDigest(pushed)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Referrers(ref, remote.WithTransport(e.http), remote.WithAuth(&authn.Basic{Username: login.User, Password: login.Password}))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].ArtifactType != "application/x-note" {
		t.Errorf("attached: %+v, %v", m, err)
	}
	if list, err := e.Tagged(t.Context(), repo+":"+strings.Replace(digest, ":", "-", 1)); err != nil || list == "" {
		t.Errorf("the tag with the list has %q, %v", list, err)
	}
	if got, err := e.Tagged(t.Context(), repo+":1"); err != nil || got != digest {
		t.Errorf("the image is %s now, %v; want %s", got, err, digest)
	}
	err = open(t, host, Options{}).Attach(t.Context(), pushed, engine.Attachment{MediaType: "application/x-note", Content: []byte("[]")})
	if err == nil || jobs.AsFailure(err).Kind != jobs.KindRegistryDenied {
		t.Errorf("Attach without a login = %v", err)
	}
}
