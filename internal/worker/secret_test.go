package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// A name that the directory lacks is the job's mistake. A directory that is away, or
// a secret that cannot be read, is the host's.
func TestSecretFault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "unreadable"), 0o700); err != nil { // root reads any file
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir, name string
		want      jobs.Kind
	}{
		{"", "npm", jobs.KindSecretNotFound},
		{dir, "npm", jobs.KindSecretNotFound},
		{dir, "unreadable", jobs.KindSecretsFailed},
		{filepath.Join(dir, "away"), "npm", jobs.KindSecretsFailed},
	} {
		w := New(nil, Deps{}, Options{SecretsDir: tt.dir})
		if tt.want == jobs.KindSecretNotFound {
			if _, err := w.sshKey(tt.name); err == nil || jobs.AsFailure(err).Kind != tt.want {
				t.Errorf("SSH key %s of %q: %v; want %s", tt.name, tt.dir, err, tt.want)
			}
		}
		if _, err := w.secret(tt.name); err == nil || jobs.AsFailure(err).Kind != tt.want {
			t.Errorf("secret %s of %q: %v; want %s", tt.name, tt.dir, err, tt.want)
		}
	}
}

// A key is in a folder where no name of a secret leads.
func TestSSHKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, sshKeys), 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, sshKeys, "deploy")
	if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := New(nil, Deps{}, Options{SecretsDir: dir})
	if path, err := w.sshKey("deploy"); err != nil || path != key {
		t.Errorf("the key is at %q, %v; want %q", path, err, key)
	}
	for _, name := range []string{"deploy", "ssh/deploy", "ssh"} {
		if value, err := w.secret(name); err == nil {
			t.Errorf("the secret %q is %q; want none", name, value)
		}
	}
}
