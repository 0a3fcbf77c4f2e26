//go:build integration

package docker

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestRegistryLogins pushes to, builds from and pulls from a registry that
// wants a login, with and without one.
func TestRegistryLogins(t *testing.T) {
	t.Parallel()
	login := hosttest.Login{User: "farm", Password: "s3:cret"}
	addr := hosttest.StartRegistry(t, host, login)
	stranger, known := open(t, host, Options{}), open(t, host, Options{RegistryAuthFile: loginFile(t, addr, login)})
	tag := addr + "/private/app:1"
	made, err := tryBuild(t, known, "FROM busybox:latest\nLABEL private=yes\n", jobs.Build{Tags: []string{"private-app:1"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.Push(t.Context(), made.ImageID, tag, nil)
	wantDenied(t, "push without a login", err)
	var progress bytes.Buffer
	pushed, err := known.Push(t.Context(), made.ImageID, tag, &progress)
	if err != nil || !strings.HasPrefix(pushed, addr+"/private/app@sha256:") {
		t.Fatalf("push = %q, %v", pushed, err)
	}
	if !strings.Contains(progress.String(), "digest: sha256:") {
		t.Errorf("progress = %q", progress.String())
	}
	wrong := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(wrong, fmt.Appendf(nil, `{"auths":{%q:{"auth":"ZmFybTp3cm9uZw=="}}}`, addr), 0o600); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_, err = open(t, host, Options{RegistryAuthFile: wrong}).Push(t.Context(), made.ImageID, tag, nil)
	wantDenied(t, "push with a wrong password", err)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("the denial took %s", took)
	}
	if _, err := known.cli.ImageRemove(t.Context(), tag, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	// The images have names of their own: BuildKit remembers who resolved what.
	_, err = tryBuild(t, stranger, "FROM "+tag+"\n", jobs.Build{})
	wantDenied(t, "build without a login", err)
	built, err := tryBuild(t, known, "FROM "+tag+"\n", jobs.Build{})
	if err != nil || built.Bases[0].Digest != strings.TrimPrefix(pushed, addr+"/private/app@") {
		t.Errorf("build = %+v, %v; want a base of %s", built, err, pushed)
	}
	_, err = stranger.Image(t.Context(), tag, nil)
	wantDenied(t, "pull without a login", err)
	if _, err := known.Image(t.Context(), tag, &progress); err != nil {
		t.Errorf("pull = %v", err)
	}
	_, err = known.Image(t.Context(), addr+"/private/other:1", nil)
	if f := jobs.AsFailure(err); f.Kind != jobs.KindImageMissing {
		t.Errorf("pull of what is not there = %v, want image_missing", err)
	}
}

// loginFile is a file with a login for a registry, as docker login writes it.
func loginFile(t *testing.T, addr string, login hosttest.Login) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	auth := base64.StdEncoding.EncodeToString([]byte(login.User + ":" + login.Password))
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths":{"https://%s/v2/":{"auth":%q}}}`, addr, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func wantDenied(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || jobs.AsFailure(err).Kind != jobs.KindRegistryDenied {
		t.Errorf("%s = %v, want registry_denied", what, err)
	}
}

func TestRegistryUnreachable(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	tag := "127.0.0.1:1/app:1"
	_, err := e.Image(t.Context(), tag, nil)
	wantUnavailable(t, "pull", err)
	_, err = tryBuild(t, e, "FROM "+tag+"\n", jobs.Build{})
	wantUnavailable(t, "build", err)
	local, err := e.Image(t.Context(), "busybox:latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Push(t.Context(), local, tag, nil)
	wantUnavailable(t, "push", err)
	if facts, err := e.ImageFacts(t.Context(), tag); err != nil || facts.ID != "" {
		t.Errorf("after a push that failed the name stands for %+v, %v; want nothing", facts, err)
	}
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	f := jobs.AsFailure(err)
	if f.Kind != jobs.KindRegistryUnavailable || f.Cause == "" {
		t.Errorf("%s = %v, cause %q; want registry_unavailable and what the network said", what, err, f.Cause)
	}
}
