package jobs

import (
	"maps"
	"path"
	"slices"
)

func (p *problems) tmpfs(r Run) {
	tmpfs := r.Tmpfs
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
	p.mounts(r)
}

// mounts refuses what the container's runtime would refuse to mount.
func (p *problems) mounts(r Run) {
	seen := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(r.Tmpfs)) {
		at, clean := "/run/tmpfs/"+escape(k), path.Clean(k)
		if below(clean, "/proc") {
			p.add("tmpfs_invalid", at, "nothing can be mounted on /proc")
		}
		if len(r.Secrets) > 0 && below(clean, SecretsDir) {
			p.add("tmpfs_invalid", at, "%s has the files of run.secrets; mount another path", SecretsDir)
		}
		if other, twice := seen[clean]; twice {
			p.add("tmpfs_invalid", at, "%s is asked for twice, as %s and as %s", clean, other, k)
		}
		seen[clean] = k
	}
}
