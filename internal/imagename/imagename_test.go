package imagename_test

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/imagename"
)

func TestNames(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct{ ref, full, familiar string }{
		{"busybox", "docker.io/library/busybox:latest", "busybox:latest"},
		{"index.docker.io/library/busybox:1", "docker.io/library/busybox:1", "busybox:1"},
		{"team/app", "docker.io/team/app:latest", "team/app:latest"},
		{"localhost:5000/app:2", "localhost:5000/app:2", "localhost:5000/app:2"},
		{"busybox" + digest, "docker.io/library/busybox" + digest, "busybox" + digest},
		{"busybox:1" + digest, "docker.io/library/busybox:1" + digest, "busybox:1" + digest},
		{"No Name", "No Name", "No Name"},
	} {
		if got := imagename.Full(tt.ref); got != tt.full {
			t.Errorf("Full(%q) = %q, want %q", tt.ref, got, tt.full)
		}
		if got := imagename.Familiar(tt.ref); got != tt.familiar {
			t.Errorf("Familiar(%q) = %q, want %q", tt.ref, got, tt.familiar)
		}
	}
}
