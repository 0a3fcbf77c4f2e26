package docker

import (
	"os"
	"testing"
)

func TestParseStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, status string
		parent       int
		first        bool
	}{
		{"first of a container", "Name:\tsleep\nPid:\t11126\nPPid:\t1\nNSpid:\t11126\t1\n", 1, true},
		{"another of a container", "PPid:\t11126\nNSpid:\t11180\t7\n", 11126, false},
		{"first of a namespace in a container", "PPid:\t7\nNSpid:\t11190\t8\t1\n", 7, true},
		{"init of this namespace", "PPid:\t0\nNSpid:\t1\n", 0, false},
		{"a name with a line break", "Name:\tx\\nPPid:\\t1\nPPid:\t2\nNSpid:\t9\n", 2, false},
		{"nothing", "", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if parent, first := parseStatus(tt.status); parent != tt.parent || first != tt.first {
				t.Errorf("parent %d, first %t; want %d, %t", parent, first, tt.parent, tt.first)
			}
		})
	}
}

func TestLineage(t *testing.T) {
	t.Parallel()
	have := lineage(os.Getpid())
	if !have[os.Getpid()] || !have[os.Getppid()] || have[0] {
		t.Errorf("lineage = %v, want %d and %d in it, not 0", have, os.Getpid(), os.Getppid())
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	const mounts = `22 26 0:21 / /proc rw - proc proc rw
26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
43 26 254:0 /var/lib/docker /var/lib/docker rw shared:3 - ext4 /dev/vda rw
44 26 254:16 / /srv rw - xfs /dev/vdb rw
45 44 0:38 /@docker /srv/docker rw - btrfs /dev/vdc rw
46 26 0:40 / /mnt/hidden rw - tmpfs tmpfs rw
47 46 0:41 /sub /mnt/hidden rw - tmpfs tmpfs rw
48 26 0:42 / /mnt/my\040disk rw - tmpfs tmpfs rw
`
	for path, want := range map[string]place{
		"/tmp/data":             {"254:0", "/tmp/data"},
		"/var/lib/docker/x":     {"254:0", "/var/lib/docker/x"},
		"/srv/docker":           {"0:38", "/@docker"},
		"/srv/docker/x":         {"0:38", "/@docker/x"},
		"/srv/docker-2/x":       {"254:16", "/docker-2/x"},
		"/mnt/hidden/x":         {"0:41", "/sub/x"},
		"/mnt/my disk/and more": {"0:42", `/and\040more`},
	} {
		if have := locate(mounts, path); have != want {
			t.Errorf("locate %s = %v, want %v", path, have, want)
		}
	}
	if have := locate("", "/srv"); have != (place{}) || have.lends(mounts) {
		t.Errorf("locate without mounts = %v, lends %t", have, have.lends(mounts))
	}
}

func TestLends(t *testing.T) {
	t.Parallel()
	p := place{"254:0", "/data/buildkit/executor"}
	for _, tt := range []struct {
		name, mount string
		want        bool
	}{
		{"step", "185 178 254:0 /data/buildkit/executor/hosts.87v3 /etc/hosts ro - ext4 /dev/vda rw", true},
		{"step of an earlier daemon", "185 178 254:0 /data/buildkit/executor/resolv.conf//deleted /etc/resolv.conf ro - ext4 /dev/vda rw", true},
		{"step of another daemon", "185 178 254:0 /other/buildkit/executor/hosts.87v3 /etc/hosts ro - ext4 /dev/vda rw", false},
		{"step on another file system", "185 178 254:16 /data/buildkit/executor/hosts.87v3 /etc/hosts ro - ext4 /dev/vdb rw", false},
		{"container", "98 81 254:0 /data/containers/e69f/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw", false},
		{"container that sees the data root", "98 81 254:0 /data /rootfs rw - ext4 /dev/vda rw", false},
		{"root of a step, on the host", "109 43 0:49 / /data/buildkit/executor/wirq/rootfs rw - overlay overlay rw,upperdir=/data/overlay2/nqiv/diff", false},
		{"another directory", "98 81 254:0 /data/buildkit/executor2/hosts /etc/hosts rw - ext4 /dev/vda rw", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if have := p.lends("26 1 0:9 / / rw - tmpfs tmpfs rw\n" + tt.mount + "\n"); have != tt.want {
				t.Errorf("lends = %t, want %t", have, tt.want)
			}
		})
	}
}
