package diskroom

import (
	"testing"

	"github.com/slipway-farm/slipway/internal/jobs"
)

func TestShort(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for _, tt := range []struct {
		name  string
		room  Room
		times uint64
		want  bool
	}{
		{"plenty", Room{50 * gib, 100 * gib, 0, 0}, 1, false},
		{"a large disk needs no tenth", Room{3 * gib, 1000 * gib, 0, 0}, 1, false},
		{"nor twice 2 GiB when that is asked", Room{3 * gib, 1000 * gib, 0, 0}, 2, true},
		{"under 2 GiB of a large disk", Room{2*gib - 1, 100 * gib, 0, 0}, 1, true},
		{"a tenth of a small disk", Room{12 << 20, 120 << 20, 0, 0}, 1, false},
		{"less than that", Room{12<<20 - 1, 120 << 20, 0, 0}, 1, true},
		{"no files left", Room{50 * gib, 100 * gib, 99, 1000}, 1, true},
		{"files enough", Room{50 * gib, 100 * gib, 100_000, 16_000_000}, 1, false},
	} {
		if got := tt.room.Short(tt.times); got != tt.want {
			t.Errorf("%s: Short(%d) of %+v = %v", tt.name, tt.times, tt.room, got)
		}
	}
	here, err := At(t.TempDir())
	if err != nil || here.Total == 0 || here.Free > here.Total {
		t.Errorf("At(a directory) = %+v, %v", here, err)
	}
	if _, err := At("/no/such/directory"); err == nil {
		t.Error("At(nothing) = nil, want an error")
	}
}

func TestFree(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	disk := func(name string, free jobs.Bytes) jobs.HostDisk {
		return jobs.HostDisk{Directory: name, Free: free, Size: 100 * gib, Least: 2 * gib}
	}
	for _, tt := range []struct {
		disks []jobs.HostDisk
		want  string
	}{
		{nil, ""},
		{[]jobs.HostDisk{disk("docker", 50*gib)}, "docker: 50.0 GiB of 100.0 GiB free, at least 2.0 GiB wanted"},
		{
			[]jobs.HostDisk{disk("docker", 50*gib), disk("state", 1*gib), disk("store", 50*gib-4096)},
			"docker, store: 50.0 GiB of 100.0 GiB free, at least 2.0 GiB wanted; state: 1.0 GiB of 100.0 GiB free, at least 2.0 GiB wanted",
		},
	} {
		if got := Free(tt.disks); got != tt.want {
			t.Errorf("Free(%v) = %q, want %q", tt.disks, got, tt.want)
		}
	}
}
