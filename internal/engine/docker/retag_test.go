//go:build integration

package docker

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestRetag moves a tag between two images of a registry that wants a login, and compares
// them.
func TestRetag(t *testing.T) {
	t.Parallel()
	login := hosttest.Login{User: "farm", Password: "s3cret"}
	addr := hosttest.StartRegistry(t, host, login)
	e := open(t, host, Options{RegistryAuthFile: loginFile(t, addr, login)})
	repo := addr + "/retag/app"
	push := func(tag, dockerfile string) (digest string) {
		t.Helper()
		// Without the cache each build has times of its own.
		made, err := tryBuild(t, e, dockerfile, jobs.Build{Tags: []string{"retag-app:" + tag}, NoCache: true})
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := e.Push(t.Context(), made.ImageID, repo+":"+tag, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, digest, _ = strings.Cut(pushed, "@")
		return digest
	}
	one := push("one", "FROM busybox:latest\nRUN echo 1 > /made\n")
	again := push("again", "FROM busybox:latest\nRUN echo 1 > /made\n")
	two := push("two", "FROM busybox:latest\nRUN echo 2 > /made\n")
	at := func(tag, want string) {
		t.Helper()
		if got, err := e.Tagged(t.Context(), repo+":"+tag); err != nil || got != want {
			t.Errorf("Tagged(%s) = %s, %v; want %s", tag, got, err, want)
		}
	}
	at("one", one)
	at("two", two)
	at("none", "")
	for _, digest := range []string{two, two, one} { // once more does no harm
		if err := e.Retag(t.Context(), repo+":stable", digest); err != nil {
			t.Fatal(err)
		}
		at("stable", digest)
	}
	if err := e.Retag(t.Context(), repo+":stable", "sha256:"+strings.Repeat("0", 64)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("Retag to what is not there = %v", err)
	}
	at("stable", one)

	for _, tt := range []struct {
		a, b string
		want bool
	}{{one, one, true}, {one, again, true}, {one, two, false}} {
		if same, err := e.SameContent(t.Context(), repo, tt.a, tt.b); err != nil || same != tt.want {
			t.Errorf("SameContent(%s, %s) = %t, %v; want %t", tt.a, tt.b, same, err, tt.want)
		}
	}
	if one == again {
		t.Log("the two builds have one digest") // then nothing was compared
	}

	stranger := open(t, host, Options{})
	if _, err := stranger.Tagged(t.Context(), repo+":one"); err == nil || !strings.Contains(err.Error(), "the registry said 401 Unauthorized") {
		t.Errorf("Tagged without a login = %v", err)
	}
	if err := stranger.Retag(t.Context(), repo+":stable", two); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") {
		t.Errorf("Retag without a login = %v", err)
	}
	if _, err := e.Tagged(t.Context(), "127.0.0.1:1/app:1"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Tagged of a registry that is away = %v", err)
	}
}
