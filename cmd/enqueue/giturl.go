package main

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// gitPlace is a repository of git as people type it: https://host/owner/name.git#ref:dir,
// git@host:owner/name, ssh://git@host:22/owner/name. Workers have no git: a forge packs
// the repository as an archive.
type gitPlace struct {
	host, repository string // without .git
	ref, dir         string
}

var scpLike = regexp.MustCompile(`^[A-Za-z0-9._-]+@([A-Za-z0-9.-]+):([^:]+)$`)

// parseGit takes a PATH that names a repository apart. Of an https:// reference it is known
// by the end .git, or by a well-known forge, where such an address is a page.
func parseGit(arg string) (g gitPlace, ok bool) {
	bare, fragment, _ := strings.Cut(arg, "#")
	g.ref, g.dir, _ = strings.Cut(fragment, ":")
	if scp := scpLike.FindStringSubmatch(bare); scp != nil {
		g.host, g.repository = scp[1], scp[2]
		return g.cleaned(), true
	}
	u, err := url.Parse(bare)
	if err != nil || u.Host == "" {
		return g, false
	}
	g.host, g.repository = u.Hostname(), u.Path
	switch u.Scheme {
	case "git", "ssh", "git+ssh", "git+https", "git+http":
		ok = true
	case "http", "https":
		g.host = u.Host // its port is that of the archive, too
		_, known := forges[u.Hostname()]
		ok = strings.HasSuffix(u.Path, ".git") || known && strings.Count(strings.Trim(u.Path, "/"), "/") == 1
	}
	return g.cleaned(), ok
}

func (g gitPlace) cleaned() gitPlace {
	g.repository = strings.TrimSuffix(strings.Trim(g.repository, "/"), ".git")
	return g
}

// forge is how a forge names the archive of a repository.
type forge struct {
	// archive is a format of the host, the repository, the ref and the name of the repository.
	archive string
	// newest is a ref that stands for the default branch, "" where there is none.
	newest string
	// sends is the host that has the archives, "" for the same.
	sends string
}

var (
	gitea  = forge{archive: "https://%[1]s/%[2]s/archive/%[3]s.tar.gz"}
	github = forge{archive: gitea.archive, newest: "HEAD", sends: "codeload.github.com"}
	gitlab = forge{archive: "https://%[1]s/%[2]s/-/archive/%[3]s/%[4]s-%[3]s.tar.gz", newest: "HEAD"}
	forges = map[string]forge{"github.com": github, "gitlab.com": gitlab, "codeberg.org": gitea, "gitea.com": gitea}
)

// refuse says how the repository is submitted.
func (g gitPlace) refuse() error {
	kind, known := forges[g.host]
	if !known && strings.HasPrefix(g.host, "gitlab.") {
		kind, known = gitlab, true
	}
	hint := "enqueue submit --context-dir " + g.folder() + " " + g.archive(kind)
	if !known {
		hint = fmt.Sprintf("enqueue submit --context-dir %s with the address of its archive: %s (GitHub, Gitea, Forgejo) or %s (GitLab)",
			g.folder(), g.archive(gitea), g.archive(gitlab))
	}
	hosts := g.host
	if kind.sends != "" {
		hosts += " and " + kind.sends
	}
	// The address may have a password, and is not repeated.
	return usage(hint+"; the workers' policy has to open "+hosts+". A checkout is submitted as a directory",
		"PATH is the repository of git %s/%s: workers take archives, and a forge has one of it", g.host, g.repository)
}

// archive is the address of the archive on a kind of forge.
func (g gitPlace) archive(kind forge) string {
	ref := g.ref
	if ref == "" {
		ref = kind.newest
	}
	if ref == "" {
		ref = "BRANCH"
	}
	return fmt.Sprintf(kind.archive, g.host, g.repository, ref, path.Base(g.repository))
}

// folder is what --context-dir takes: the only top folder, whose name depends on the ref, or a
// directory below it.
func (g gitPlace) folder() string {
	if g.dir == "" {
		return "'*'"
	}
	return "TOP-FOLDER/" + strings.Trim(g.dir, "/")
}
