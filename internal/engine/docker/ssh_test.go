//go:build integration

package docker

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestSSH: a step signs with the keys that the job names and with no other, on both
// ways to the daemon, and sees none of them.
func TestSSH(t *testing.T) {
	t.Parallel()
	e, dir := open(t, host, Options{}), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "sign"), "./testdata/sign")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "sign"))
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "deploy")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"deploy": pem.EncodeToMemory(block), "torn": []byte("no key\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const step = "FROM busybox:latest\nCOPY sign /\nRUN chmod +x /sign\n"
	for _, tt := range []struct {
		name, run, key, fails string
		hidden                bool
		kind                  jobs.Kind
	}{
		{name: "named", run: "RUN --mount=type=ssh,id=default /sign", key: "deploy"},
		{name: "named, the Dockerfile apart", run: "RUN --mount=type=ssh,id=default /sign", key: "deploy", hidden: true},
		{name: "not named", run: "RUN --mount=type=ssh,id=default,required /sign", fails: `wants the SSH key "default", which the job does not name`, kind: jobs.KindBuildFailed},
		{name: "another one", run: "RUN --mount=type=ssh,id=other,required /sign", key: "deploy", fails: `wants the SSH key "other", which the job does not name`, kind: jobs.KindBuildFailed},
		{name: "no key", run: "RUN true", key: "torn", fails: "an SSH key of the worker cannot be used", kind: jobs.KindSecretNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spec := jobs.Build{NoCache: true}
			if tt.key != "" {
				spec.SSH = []jobs.Secret{{ID: "default", Name: filepath.Join(dir, tt.key)}} // a path here: no worker looks it up
			}
			var apart []byte
			files := []string{"sign", string(program)}
			if text := step + tt.run + "\n"; tt.hidden {
				apart = []byte(text)
			} else {
				files = append(files, "Dockerfile", text)
			}
			built, err := tryBuildOf(t, e, apart, spec, files...)
			if tt.fails == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := e.RemoveImage(t.Context(), built.ImageID); err != nil {
					t.Error(err)
				}
				return
			}
			if f := jobs.AsFailure(err); err == nil || f.Kind != tt.kind || !strings.Contains(f.Message, tt.fails) {
				t.Errorf("build = %v; want %s: %s", err, tt.kind, tt.fails)
			}
		})
	}
}
