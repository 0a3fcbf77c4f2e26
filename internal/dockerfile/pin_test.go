package dockerfile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/jobs"
)

const amd64 = "linux/amd64"

// pinAll pins each image to a digest of its name and platform.
func pinAll(img dockerfile.Image) string {
	if strings.Contains(img.Ref, "@") {
		return ""
	}
	return img.Ref + "@" + img.Platform
}

// with is a build with these contexts, names and values in turn.
func with(contexts ...string) jobs.Build {
	b := jobs.Build{Contexts: map[string]string{}}
	for i := 0; i < len(contexts); i += 2 {
		b.Contexts[contexts[i]] = contexts[i+1]
	}
	return b
}

// TestNamesContexts: what is not known to stand for an image is told from what does not.
func TestNamesContexts(t *testing.T) {
	t.Parallel()
	images := with("base", "docker-image://a:1")
	for _, tt := range []struct {
		text  string
		build jobs.Build
		want  bool
	}{
		{"FROM base\n", images, true},
		{"FROM a\nCOPY --from=base:latest / /\n", images, true},
		{"FROM a\nRUN --mount=from=base,target=/b x\n", images, true},
		{"FROM a AS x\nONBUILD COPY --from=base / /\nFROM x\n", images, true},
		{"FROM ${UNKNOWN:+b}ase\n", jobs.Build{Contexts: images.Contexts, Args: map[string]string{"UNKNOWN": "x"}}, true},
		{"FROM a\nCOPY --from=base:2 / /\n", images, false},
		{"FROM base\n", with("base", "libs"), false},
		{"FROM base\n", jobs.Build{}, false},
		{"no Dockerfile\n", images, false},
	} {
		if got := dockerfile.NamesContexts(dockerfile.File{Name: "Dockerfile", Content: []byte(tt.text)}, tt.build, amd64); got != tt.want {
			t.Errorf("%q with %v: %t, want %t", tt.text, tt.build.Contexts, got, tt.want)
		}
	}
}

func TestPin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, want string // want is "" when nothing is pinned
		build            jobs.Build
	}{
		{name: "FROM", text: "FROM a:1\n", want: "FROM a:1@\n"},
		{name: "no end of the line", text: "FROM a:1", want: "FROM a:1@"},
		{name: "other line ends", text: "FROM a:1\r\nRUN x\r\n", want: "FROM a:1@\r\nRUN x\r\n"},
		{name: "byte order mark", text: "\ufeffFROM a:1\n", want: "\ufeffFROM a:1@\n"},
		{name: "stage", text: "FROM a AS a\nFROM b AS c\nCOPY --from=a / /\nCOPY --from=0 / /\nFROM c\n", want: "FROM a@ AS a\nFROM b@ AS c\nCOPY --from=a / /\nCOPY --from=0 / /\nFROM c\n"},
		{name: "variable", text: "ARG V=1\nFROM a:${V:-2}\n", want: "ARG V=1\nFROM a:1@\n"},
		{name: "build argument", text: "ARG V=1\nFROM a:$V AS x\n", build: jobs.Build{Args: map[string]string{"V": "3"}}, want: "ARG V=1\nFROM a:3@ AS x\n"},
		{name: "quotes", text: "FROM \"a:1\"\nCOPY --from='b:1' / /\n", want: "FROM a:1@\nCOPY --from='b:1@' / /\n"},
		{name: "platforms", text: "FROM --platform=$BUILDPLATFORM a AS x\nFROM --platform=linux/arm64 a\nCOPY --from=x / /\n", want: "FROM --platform=$BUILDPLATFORM a@linux/amd64 AS x\nFROM --platform=linux/arm64 a@linux/arm64\nCOPY --from=x / /\n"},
		{name: "digest", text: "FROM a@sha256:1\n"},
		{name: "scratch", text: "FROM scratch\nCOPY a /\n"},
		{name: "digest beside a tag", text: "FROM a:1\nCOPY --from=a@sha256:1 / /\n", want: "FROM a:1@\nCOPY --from=a@sha256:1 / /\n"},
		{name: "lines and comments", text: "FROM \\\n# FROM a:1\n  a:1 \\\n\n  AS x\n", want: "FROM \\\n# FROM a:1\n  a:1@ \\\n\n  AS x\n"},
		{name: "word cut by a line", text: "FROM a:\\\n1\n"},
		{name: "instruction of the same name", text: "FROM FROM\n"},
		{name: "escape", text: "# escape=`\nFROM `\n  a:1\n", want: "# escape=`\nFROM `\n  a:1@\n"},
		{name: "mounts", text: "FROM a\nRUN --mount=type=bind,from=b,target=/b --mount=from=b,target=/c \\\n --mount=type=cache,target=/d,from=c echo from=b, --from=b\n", want: "FROM a@\nRUN --mount=type=bind,from=b@,target=/b --mount=from=b@,target=/c \\\n --mount=type=cache,target=/d,from=c@ echo from=b, --from=b\n"},
		{name: "mount of a stage", text: "FROM a AS b\nFROM c\nRUN --mount=from=b,target=/b x\n", want: "FROM a@ AS b\nFROM c@\nRUN --mount=from=b,target=/b x\n"},
		{name: "here-document", text: "FROM a\nCOPY --from=b <<E /x\nFROM b\nE\nRUN <<E\ncat --from=b from=b\nE\n", want: "FROM a@\nCOPY --from=b@ <<E /x\nFROM b\nE\nRUN <<E\ncat --from=b from=b\nE\n"},
		{name: "stage that is not used", text: "FROM b AS x\nFROM a\n", want: "FROM b@ AS x\nFROM a@\n"},
		{name: "target", text: "FROM a AS wanted\nFROM b\n", build: jobs.Build{Target: "wanted"}, want: "FROM a@ AS wanted\nFROM b@\n"},
		{name: "trigger", text: "FROM a AS x\nONBUILD COPY --from=b / /\nFROM x\nCOPY --from=b / /b\n", want: "FROM a@ AS x\nONBUILD COPY --from=b / /\nFROM x\nCOPY --from=b / /b\n"},
		{name: "syntax", text: "# syntax=docker/dockerfile:1\nFROM a\n", want: "# syntax=docker/dockerfile:1@\nFROM a@\n"},
		{name: "syntax in other words", text: "#\tSyntax = docker/dockerfile:1 # for mounts\nFROM a\n", want: "#\tSyntax = docker/dockerfile:1@ # for mounts\nFROM a@\n"},
		{name: "syntax of a text of its own", text: "// syntax=some/thing:1\n{}\n", want: "// syntax=some/thing:1@\n{}\n"},
		{name: "syntax that only old frontends read", text: "# see below\n# syntax=a/b\nFROM a\n", want: "# see below\n# syntax=a/b\nFROM a@\n"},
		{name: "variable that only a build knows", text: "FROM ${UNKNOWN:+b}a\n", build: jobs.Build{Args: map[string]string{"UNKNOWN": "x"}}},
		{name: "no Dockerfile", text: "x\n"},
		{
			name: "image by another name", build: with("base", "docker-image://a:1", "b", "docker-image://c"),
			text: "FROM base AS x\nFROM docker.io/library/b:latest\nCOPY --from=base / /\nRUN --mount=from=base,target=/b x\nCOPY --from=x / /\n",
			want: "FROM a:1@ AS x\nFROM c@\nCOPY --from=a:1@ / /\nRUN --mount=from=a:1@,target=/b x\nCOPY --from=x / /\n",
		},
		{name: "image by another name that has a digest", text: "FROM base\n", build: with("base", "docker-image://a@sha256:1"), want: "FROM a@sha256:1\n"},
		{name: "image by its own name", text: "FROM a\nCOPY --from=a:2 / /\n", build: with("a", "docker-image://a:3"), want: "FROM a:3@\nCOPY --from=a:2@ / /\n"},
		{name: "images by each other's names", text: "FROM a\nCOPY --from=b / /\n", build: with("a", "docker-image://b", "b", "docker-image://a"), want: "FROM b@\nCOPY --from=a@ / /\n"},
		{name: "directory", text: "FROM a\nCOPY --from=dir / /\nRUN --mount=from=dir,target=/x x\n", build: with("dir", "libs"), want: "FROM a@\nCOPY --from=dir / /\nRUN --mount=from=dir,target=/x x\n"},
		{name: "built on a directory", text: "FROM dir\nCOPY --from=a / /\n", build: with("dir", "libs"), want: "FROM dir\nCOPY --from=a@ / /\n"},
		{name: "stage before a directory", text: "FROM a AS x\nCOPY --from=0 / /\nFROM dir\n", build: with("dir", "libs"), want: "FROM a@ AS x\nCOPY --from=0 / /\nFROM dir\n"},
		{name: "image by another name in a trigger", text: "FROM a AS x\nONBUILD COPY --from=base / /\nFROM x\n", build: with("base", "docker-image://b")},
		{name: "image by another name in a variable", text: "ARG V=base\nFROM ${V}\n", build: with("base", "docker-image://b:1"), want: "ARG V=base\nFROM b:1@\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pinned, ok := dockerfile.Pin(named(tt.text), tt.build, amd64, pinAll)
			if ok != (tt.want != "") {
				t.Fatalf("pinned %t: %q", ok, pinned.Content)
			}
			if diff := cmp.Diff(tt.want, string(pinned.Content)); ok && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPinCorpus checks that a pinned Dockerfile uses the pinned images and nothing else.
func TestPinCorpus(t *testing.T) {
	t.Parallel()
	pinned := 0
	for _, d := range contextstest.Dockerfiles() {
		got, ok := dockerfile.Pin(named(d.Text), d.Build, amd64, pinAll)
		if !ok {
			continue
		}
		pinned++
		if lines := strings.Count(d.Text, "\n"); strings.Count(string(got.Content), "\n") != lines {
			t.Errorf("%s has other lines:\n%s", d.Name, got.Content)
		}
		var before []string
		for _, img := range dockerfile.Used(named(d.Text), d.Build, amd64) {
			before = append(before, img.Ref)
		}
		for _, img := range dockerfile.Used(got, d.Build, amd64) {
			if name, _, _ := strings.Cut(img.Ref, "@"); !slices.ContainsFunc(before, func(ref string) bool { return ref == img.Ref || ref == name }) {
				t.Errorf("%s uses %s now:\n%s", d.Name, img.Ref, got.Content)
			}
		}
	}
	if pinned < 20 {
		t.Errorf("only %d Dockerfiles were pinned", pinned)
	}
}
