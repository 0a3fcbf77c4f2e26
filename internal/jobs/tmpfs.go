package jobs

import (
	"maps"
	"path"
	"slices"
)

func (p *problems) tmpfs(tmpfs map[string]Bytes) {
	for _, k := range slices.Sorted(maps.Keys(tmpfs)) {
		p.abspath("/run/tmpfs/"+escape(k), k)
		if k == "" || path.Clean(k) == "/" {
			p.add("tmpfs_invalid", "/run/tmpfs/"+escape(k), "want a path below /")
		}
		if tmpfs[k] < 0 {
			p.add("tmpfs_invalid", "/run/tmpfs/"+escape(k), "the size is negative")
		}
	}
	p.count("/run/tmpfs", len(tmpfs))
	p.mounts(tmpfs)
}

// mounts refuses what the container's runtime would refuse to mount.
func (p *problems) mounts(tmpfs map[string]Bytes) {
	seen := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(tmpfs)) {
		at, clean := "/run/tmpfs/"+escape(k), path.Clean(k)
		if below(clean, "/proc") {
			p.add("tmpfs_invalid", at, "nothing can be mounted on /proc")
		}
		if other, twice := seen[clean]; twice {
			p.add("tmpfs_invalid", at, "%s is asked for twice, as %s and as %s", clean, other, k)
		}
		seen[clean] = k
	}
}
