package imagename_test

import (
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/imagename"
)

func TestNames(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct{ ref, full, familiar, repository string }{
		{"busybox", "docker.io/library/busybox:latest", "busybox:latest", "docker.io/library/busybox"},
		{"index.docker.io/library/busybox:1", "docker.io/library/busybox:1", "busybox:1", "docker.io/library/busybox"},
		{"docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest", "docker.io/library/busybox"},
		{"docker.io/us/app:1", "docker.io/us/app:1", "us/app:1", "docker.io/us/app"},
		{"registry.example.com/app", "registry.example.com/app:latest", "registry.example.com/app:latest", "registry.example.com/app"},
		{"team/app", "docker.io/team/app:latest", "team/app:latest", "docker.io/team/app"},
		{"localhost:5000/app:2", "localhost:5000/app:2", "localhost:5000/app:2", "localhost:5000/app"},
		{"busybox" + digest, "docker.io/library/busybox" + digest, "busybox" + digest, "docker.io/library/busybox"},
		{"busybox:1" + digest, "docker.io/library/busybox:1" + digest, "busybox:1" + digest, "docker.io/library/busybox"},
		{"No Name", "No Name", "No Name", "No Name"},
	} {
		if got, want := imagename.IsName(tt.ref), tt.ref != "No Name"; got != want {
			t.Errorf("IsName(%q) = %t, want %t", tt.ref, got, want)
		}
		if got := imagename.Repository(tt.ref); got != tt.repository {
			t.Errorf("Repository(%q) = %q, want %q", tt.ref, got, tt.repository)
		}
		if got := imagename.Full(tt.ref); got != tt.full {
			t.Errorf("Full(%q) = %q, want %q", tt.ref, got, tt.full)
		}
		if got := imagename.Familiar(tt.ref); got != tt.familiar {
			t.Errorf("Familiar(%q) = %q, want %q", tt.ref, got, tt.familiar)
		}
	}
}
