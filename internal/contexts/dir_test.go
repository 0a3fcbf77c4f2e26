package contexts_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/contexts"
	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// A directory of an archive is the context: what is outside is judged and not handed on,
// and what is inside is handed on as if the archive began there.
func TestContextDir(t *testing.T) {
	t.Parallel()
	file, dir, link, hard := contextstest.File, contextstest.Dir, contextstest.Symlink, contextstest.Hardlink
	forge := []contextstest.Entry{
		dir("app-1a2b/"), file("app-1a2b/Dockerfile", "FROM busybox\n"), file("app-1a2b/src/main.go", "package main\n"), link("app-1a2b/l", "src/main.go"),
	}
	mono := []contextstest.Entry{
		file("Dockerfile", "FROM scratch\n"), dir("svc/"), dir("svc/api/"), file("svc/api/Dockerfile", "FROM busybox\n"),
		file("svc/api/a", "a"), hard("svc/api/b", "svc/api/a"), file("svc/apidocs/x", "x"), link("svc/api/up", "../x"),
	}
	for name, tt := range map[string]struct {
		entries []contextstest.Entry
		dir     string
		names   string // what is handed on, after the first entry of ours
		kind    jobs.Kind
		says    string
	}{
		"the whole archive":      {mono, "", "Dockerfile svc/ svc/api/ svc/api/Dockerfile svc/api/a svc/api/b svc/apidocs/x svc/api/up", "", ""},
		"a directory":            {mono, "svc/api", "./ Dockerfile a b up", "", ""},
		"the only folder":        {forge, "*", "./ Dockerfile src/main.go l", "", ""},
		"named without an entry": {[]contextstest.Entry{file("a/b/Dockerfile", "FROM busybox\n")}, "a/b", "Dockerfile", "", ""},
		"under ./":               {[]contextstest.Entry{dir("./"), dir("./a/"), file("./a/Dockerfile", "FROM busybox\n")}, "*", "./ Dockerfile", "", ""},
		"no Dockerfile in it":    {mono, "svc", "", jobs.KindDockerfileMissing, `"api/", "apidocs/"`},
		"missing":                {mono, "svc/web", "", jobs.KindContextInvalid, `context.dir is "svc/web", and the archive has no such directory`},
		"a part of a name":       {mono, "svc/ap", "", jobs.KindContextInvalid, "no such directory"},
		"a file":                 {mono, "svc/api/a", "", jobs.KindContextInvalid, "is what context.dir names, and no directory"},
		"a link":                 {append(slices.Clone(mono), link("alias", "svc/api")), "alias", "", jobs.KindContextInvalid, "no directory"},
		"two folders":            {append(slices.Clone(forge), file("other/x", "x")), "*", "", jobs.KindContextInvalid, `is beside "app-1a2b"`},
		"a file beside":          {append(slices.Clone(forge), file("README", "x")), "*", "", jobs.KindContextInvalid, `"README" is beside "app-1a2b"`},
		"only a file":            {[]contextstest.Entry{file("Dockerfile", "FROM busybox\n")}, "*", "", jobs.KindContextInvalid, "wants one folder at the top"},
		"nothing but the root":   {[]contextstest.Entry{dir("./")}, "*", "", jobs.KindContextInvalid, "the archive has no folder at its top"},
		"a hard link out": {
			append(slices.Clone(mono), hard("svc/api/out", "svc/apidocs/x")), "svc/api", "", jobs.KindHardlinkEscape, "outside of context.dir",
		},
		"bad outside": {append(slices.Clone(mono), file("../x", "x")), "svc/api", "", jobs.KindPathEscape, "leaves the context"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, sent, err := fetch(t, far(contextstest.Tar(t, tt.entries...)), jobs.Context{Dir: tt.dir}, "", contexts.Limits{})
			if tt.kind != "" {
				jobstest.CheckFailure(t, err, tt.kind, tt.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, h := range contextstest.Headers(t, sent)[1:] {
				names = append(names, h.Name)
				if h.Linkname != "" && h.Name == "b" && h.Linkname != "a" {
					t.Errorf("the hard link leads to %q; want a", h.Linkname)
				}
			}
			if list := strings.Join(names, " "); list != tt.names {
				t.Errorf("handed on are %q; want %q", list, tt.names)
			}
			if want := "FROM busybox\n"; tt.dir != "" && string(got.Dockerfile.Content) != want {
				t.Errorf("the Dockerfile is %q; want the one of the directory", got.Dockerfile.Content)
			}
		})
	}
}
