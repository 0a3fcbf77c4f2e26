//go:build integration

package docker

import (
	"bytes"
	"context"
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
	file := filepath.Join(t.TempDir(), "config.json")
	auth := base64.StdEncoding.EncodeToString([]byte(login.User + ":" + login.Password))
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths":{"https://%s/v2/":{"auth":%q}}}`, addr, auth), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger, known := open(t, host, Options{}), open(t, host, Options{RegistryAuthFile: file})
	tag := addr + "/private/app:1"
	if _, err := tryBuild(t, known, "FROM busybox:latest\nLABEL private=yes\n", jobs.Build{Tags: []string{tag}}); err != nil {
		t.Fatal(err)
	}
	_, err := stranger.Push(t.Context(), tag, nil)
	wantDenied(t, "push without a login", err)
	var progress bytes.Buffer
	pushed, err := known.Push(t.Context(), tag, &progress)
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
	_, err = open(t, host, Options{RegistryAuthFile: wrong}).Push(t.Context(), tag, nil)
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
	if f := jobs.AsFailure(err); f.Kind != jobs.KindImageMissing || !strings.Contains(f.Hint, "could not be reached") {
		t.Errorf("pull = %v, hint %q; want image_missing with a hint on the registry", err, f.Hint)
	}
	if _, err := tryBuild(t, e, "FROM busybox:latest\n", jobs.Build{Tags: []string{tag}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.RemoveImage(context.Background(), tag); err != nil {
			t.Error(err)
		}
	})
	_, err = e.Push(t.Context(), tag, nil)
	if f := jobs.AsFailure(err); f.Kind != jobs.KindPush {
		t.Errorf("push = %v, want push_failed", err)
	}
	_, err = e.Push(t.Context(), "127.0.0.1:1/nobody:1", nil)
	if f := jobs.AsFailure(err); f.Kind != jobs.KindImageMissing {
		t.Errorf("push of what is not there = %v, want image_missing", err)
	}
}
