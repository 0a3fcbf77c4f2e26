package docker

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestLogins(t *testing.T) {
	t.Parallel()
	auth := base64.StdEncoding.EncodeToString([]byte("user:pass:word"))
	file := filepath.Join(t.TempDir(), "config.json")
	text := strings.ReplaceAll(`{"auths": {
		"https://index.docker.io/v1/": {"auth": "A"},
		"registry.example.com:5000": {"auth": "A"},
		"https://quay.example.com/v2/": {"auth": "A"}
	}, "credsStore": "ignored"}`, `"A"`, `"`+auth+`"`)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := readLogins(file)
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"busybox": "user", "team/app:1": "user", "docker.io/library/x": "user",
		"registry.example.com:5000/a/b:1": "user", "quay.example.com/x@sha256:" + strings.Repeat("0", 64): "user",
		"registry.example.com/a": "", "other.example.com/a": "",
	} {
		login := all.lookup(registryOf(ref))
		if login.Username != want || (want != "" && login.Password != "pass:word") {
			t.Errorf("login of %s = %q, want %q", ref, login.Username, want)
		}
	}
	if got := all.lookup("registry-1.docker.io"); got.Username != "user" {
		t.Errorf("login of Docker Hub's own host = %+v", got)
	}
	if hosts, err := Registries(file); err != nil || !slices.Equal(hosts, []string{"docker.io", "quay.example.com", "registry.example.com:5000"}) {
		t.Errorf("registries %q, %v", hosts, err)
	}
}

func TestBadLogins(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":   "user:password",
		"no base64": `{"auths": {"registry.example.com": {"auth": "user:password"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readLogins(file)
			if f := jobs.AsFailure(err); f.Kind != jobs.KindEngine || strings.Contains(err.Error(), "password}") {
				t.Errorf("logins = %v, want engine_failed", err)
			}
		})
	}
	if _, err := readLogins(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("logins of a missing file = nil, want an error")
	}
}
