package docker

import (
	"testing"

	"github.com/docker/docker/api/types/system"
)

// An operator may change the image store of a daemon while the worker lives.
func TestImageStore(t *testing.T) {
	t.Parallel()
	var s imageStore
	if _, asked := s.known(); asked {
		t.Error("the store is known before the daemon was asked")
	}
	for _, tt := range []struct {
		driver string
		want   bool
	}{{"io.containerd.snapshotter.v1", true}, {"", false}, {"io.containerd.snapshotter.v1", true}} {
		info := system.Info{DriverStatus: [][2]string{{"Backing Filesystem", "extfs"}, {"driver-type", tt.driver}}}
		if got := s.note(info); got != tt.want {
			t.Errorf("driver type %q: containerd %t, want %t", tt.driver, got, tt.want)
		}
		if got, asked := s.known(); got != tt.want || !asked {
			t.Errorf("after driver type %q: containerd %t, known %t", tt.driver, got, asked)
		}
	}
}
