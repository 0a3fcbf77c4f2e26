package main

import (
	"errors"
	"strings"
	"testing"
)

// What names a repository is refused with how it is submitted; what may be an archive is not.
func TestGitPlaces(t *testing.T) {
	t.Parallel()
	const dir = "--context-dir '*' "
	for arg, want := range map[string]string{
		"https://github.com/foo/bar.git":                     dir + "https://github.com/foo/bar/archive/HEAD.tar.gz;",
		"https://github.com/foo/bar":                         dir + "https://github.com/foo/bar/archive/HEAD.tar.gz;",
		"git@github.com:foo/bar.git":                         dir + "https://github.com/foo/bar/archive/HEAD.tar.gz;",
		"git://github.com/foo/bar#v1.2":                      dir + "https://github.com/foo/bar/archive/v1.2.tar.gz;",
		"https://github.com/foo/bar.git#main:svc/api":        "--context-dir TOP-FOLDER/svc/api https://github.com/foo/bar/archive/main.tar.gz;",
		"ssh://git@gitlab.com:22/group/sub/bar.git":          dir + "https://gitlab.com/group/sub/bar/-/archive/HEAD/bar-HEAD.tar.gz;",
		"https://gitlab.example.com:8443/group/bar.git#main": dir + "https://gitlab.example.com:8443/group/bar/-/archive/main/bar-main.tar.gz;",
		"https://codeberg.org/foo/bar.git":                   dir + "https://codeberg.org/foo/bar/archive/BRANCH.tar.gz;",
		"git@git.example.com:foo/bar":                        "https://git.example.com/foo/bar/archive/BRANCH.tar.gz (GitHub, Gitea, Forgejo) or https://git.example.com/foo/bar/-/archive/HEAD/bar-HEAD.tar.gz (GitLab);",
	} {
		g, ok := parseGit(arg)
		if !ok {
			t.Errorf("%s is taken for no repository", arg)
			continue
		}
		var f failure
		if err := g.refuse(); !errors.As(err, &f) || !strings.Contains(f.hint, want) || !strings.Contains(f.hint, "policy has to open "+g.host) {
			t.Errorf("%s: %v, hint %q; want it to have %q", arg, err, f.hint, want)
		}
	}
	for _, arg := range []string{
		"https://github.com/foo/bar/archive/HEAD.tar.gz", "https://example.com/foo/bar", "https://example.com/bar.tar.gz", "https://github.com/foo",
		"s3://bucket/bar.git", "file:///srv/bar.git", "cas:sha256:0", ".", "../bar.git", "user@host", "C:\\src\\app", "",
	} {
		if g, ok := parseGit(arg); ok {
			t.Errorf("%q is taken for a repository: %+v", arg, g)
		}
	}
}
