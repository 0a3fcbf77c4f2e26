package imagecontent

import (
	"path"
	"strings"
)

// database is where a package manager keeps its book.
type database struct {
	kind string
	// path is a file, or, when each is true, a directory with a file for each package.
	path string
	each bool
	// own is the directory that only this package manager has.
	own string
	// read makes the list; nil when such a database is only noticed.
	read func(text []byte) ([]Package, error)
}

// databases lists those that are known.
func databases() []database {
	return []database{
		{kind: Deb, path: "var/lib/dpkg/status", own: "var/lib/dpkg", read: readStatus},
		// Distroless images have one file for each package, and its control file beside it.
		{kind: Deb, path: "var/lib/dpkg/status.d", each: true, own: "var/lib/dpkg", read: readControl},
		{kind: Apk, path: "lib/apk/db/installed", own: "lib/apk", read: readInstalled},
		{kind: Apk, path: "usr/lib/apk/db/installed", own: "usr/lib/apk", read: readInstalled},
		{kind: "rpm", path: "var/lib/rpm/rpmdb.sqlite"},
		{kind: "rpm", path: "var/lib/rpm/Packages.db"},
		{kind: "rpm", path: "var/lib/rpm/Packages"},
		{kind: "rpm", path: "usr/lib/sysimage/rpm/rpmdb.sqlite"},
		{kind: "rpm", path: "usr/lib/sysimage/rpm/Packages.db"},
		{kind: "rpm", path: "usr/lib/sysimage/rpm/Packages"},
		{kind: "rpm", path: "usr/share/rpm/rpmdb.sqlite"},
		{kind: "pacman", path: "var/lib/pacman/local/ALPM_DB_VERSION"},
		{kind: "chisel", path: "var/lib/chisel/manifest.wall"},
	}
}

// has reports whether a path is the database, or a file of it.
func (d database) has(p string) bool {
	if !d.each {
		return p == d.path
	}
	dir, name := path.Split(p)
	return dir == d.path+"/" && !strings.HasSuffix(name, ".md5sums") && !strings.HasPrefix(name, ".wh.")
}

// near reports whether what is at a path can be a part of the database, or hide it.
// What is deeper does neither, as its directory has an entry, too.
func (d database) near(p string) bool {
	return p == "" || within(d.path, p) || path.Dir(p) == d.path
}

// leads reports whether a link at a path leads to the database and out of sight, since
// links are not followed. One to a place where such a database is looked for anyway does
// not. The target of a hard link is given with "/" before it.
func (d database) leads(p, target string, all []database) bool {
	if d.read == nil || !within(p, d.own) || !within(d.path, p) {
		return d.read != nil && d.has(p)
	}
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(p), target)
	}
	moved := clean(target) + strings.TrimPrefix(d.path, p)
	for _, other := range all {
		if other.path == moved && other.each == d.each {
			return false
		}
	}
	return true
}

// within reports whether a path is root or below it.
func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }
