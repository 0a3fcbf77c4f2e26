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
		{dir, "unreadable", jobs.KindEngine},
		{filepath.Join(dir, "away"), "npm", jobs.KindEngine},
	} {
		w := New(nil, Deps{}, Options{SecretsDir: tt.dir})
		if _, err := w.secret(tt.name); err == nil || jobs.AsFailure(err).Kind != tt.want {
			t.Errorf("secret %s of %q: %v; want %s", tt.name, tt.dir, err, tt.want)
		}
	}
}
