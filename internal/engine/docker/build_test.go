//go:build integration

package docker

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-cmp/cmp"

	parsed "github.com/slipway-farm/slipway/internal/dockerfile"
	"github.com/slipway-farm/slipway/internal/engine"
	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// platform is the one of the daemons that tests start.
const platform = "linux/amd64"

// tryBuild builds one Dockerfile beside a file hello.txt.
func tryBuild(t *testing.T, e *Engine, dockerfile string, spec jobs.Build) (engine.Built, error) {
	t.Helper()
	return tryBuildOf(t, e, nil, spec, "Dockerfile", dockerfile, "hello.txt", "hello\n")
}

// tryBuildOf builds a context of name, content pairs; with a Dockerfile that is
// not in it unless that is nil.
func tryBuildOf(t *testing.T, e *Engine, dockerfile []byte, spec jobs.Build, files ...string) (engine.Built, error) {
	t.Helper()
	name := strings.Join(spec.Tags, "")
	if name == "" {
		name = "engine-test:" + strings.ToLower(rand.Text())
	}
	text := dockerfile
	for i := 0; i < len(files) && text == nil; i += 2 {
		if files[i] == spec.Dockerfile || files[i] == jobs.DefaultDockerfile && spec.Dockerfile == "" {
			text = []byte(files[i+1])
		}
	}
	var images []engine.Image
	for _, img := range parsed.Used(parsed.File{Name: "Dockerfile", Content: text}, spec, platform) {
		images = append(images, engine.Image{Ref: img.Ref, Role: img.Role, Platform: img.Platform})
	}
	return e.Build(t.Context(), engine.Build{
		Images:     images,
		Spec:       spec,
		Context:    bytes.NewReader(enginetest.Archive(t, files...)),
		Dockerfile: dockerfile,
		Name:       name,
		SSHKey:     func(name string) (string, error) { return name, nil },
		Secret: func(name string) ([]byte, error) {
			if name != "deploy-token" {
				return nil, errors.New("no such file")
			}
			return []byte("hunter2"), nil
		},
	})
}

func TestBuildFailures(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	addr := hosttest.StartRegistry(t, host, hosttest.Login{})
	from := "FROM busybox:latest\n"
	for _, tt := range []struct {
		name, dockerfile string
		spec             jobs.Build
		kind             jobs.Kind
		message          string
		newer            string // the same in the words of newer engines
	}{
		{"empty", "", jobs.Build{}, jobs.KindDockerfileInvalid, "Dockerfile: the Dockerfile cannot be empty", ""},
		{"no FROM", "RUN true\n", jobs.Build{}, jobs.KindDockerfileInvalid, "Dockerfile: the first instruction must be FROM", ""},
		{"bad base name", "FROM Foo\n", jobs.Build{}, jobs.KindDockerfileInvalid, `Dockerfile: failed to parse stage name "Foo": invalid reference format: repository name must be lowercase`, `Dockerfile: failed to parse stage name "Foo": invalid reference format: repository name (library/Foo) must be lowercase`},
		{"blank base name", "ARG X\nFROM $X\n", jobs.Build{}, jobs.KindDockerfileInvalid, "Dockerfile: base name ($X) should not be blank", ""},
		{"bad target", from, jobs.Build{Target: "nope"}, jobs.KindDockerfileInvalid, "Dockerfile: target stage nope could not be found", `Dockerfile: target stage "nope" could not be found`},
		{"missing argument", from + "ENV\n", jobs.Build{}, jobs.KindDockerfileInvalid, "Dockerfile line 2: ENV requires at least one argument", ""},
		{"missing file", from + "COPY nofile /x\n", jobs.Build{}, jobs.KindBuildFailed, `step "COPY nofile /x" failed: "/nofile" not found`, `step "COPY nofile /x" failed: "/nofile": not found`},
		{"command not found", from + "RUN frobnicate\n", jobs.Build{}, jobs.KindBuildFailed, `step "RUN frobnicate" ended with exit code 127`, ""},
		{"secret not named", from + "RUN --mount=type=secret,id=tok,required true\n", jobs.Build{}, jobs.KindBuildFailed, `step "RUN --mount=type=secret,id=tok,required true" wants secret "tok", which the job does not name`, ""},
		{"COPY --from", from + "COPY --from=" + addr + "/such:1 / /x\n", jobs.Build{}, jobs.KindBaseMissing, "base image " + addr + "/such:1 was not found", ""},
		{"frontend", "# syntax=" + addr + "/frontend:1\n" + from, jobs.Build{}, jobs.KindFrontendMissing, "the Dockerfile's frontend " + addr + "/frontend:1 was not found", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := tryBuild(t, e, tt.dockerfile, tt.spec)
			f := jobs.AsFailure(err)
			if f.Kind != tt.kind || f.Message != tt.message && (tt.newer == "" || f.Message != tt.newer) {
				t.Errorf("build = %s %q, want %s %q", f.Kind, f.Message, tt.kind, tt.message)
			}
			if f.Hint == "" {
				t.Error("a failure without a hint")
			}
		})
	}
}

func TestBuildTail(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	_, err := tryBuild(t, e, "FROM busybox:latest\nRUN for i in $(seq 100); do echo line $i; done; false\n", jobs.Build{})
	var want []string
	for i := 81; i <= 100; i++ {
		want = append(want, fmt.Sprint("line ", i))
	}
	if diff := cmp.Diff(want, jobs.AsFailure(err).Tail); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
}

// The daemon has a limit of its own for the output of a step, and says where it reached it.
func TestBuildIsClipped(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	for script, want := range map[string]bool{
		"echo a": false,
		"head -c 4000000 /dev/zero | tr '\\0' x | fold -w 100; echo " + fmt.Sprint(time.Now().UnixNano()): true,
	} {
		clipped := false
		_, err := e.Build(t.Context(), engine.Build{
			Name: "engine-test:clipped", Context: bytes.NewReader(enginetest.Archive(t, "Dockerfile", "FROM busybox:latest\nRUN "+script+"\n")),
			Clipped: func() { clipped = true },
		})
		if err != nil || clipped != want {
			t.Errorf("%.20s: clipped %t, %v; want %t", script, clipped, err, want)
		}
	}
}

// TestBuildOptions: every option of the document arrives, whichever way the
// Dockerfile does.
func TestBuildOptions(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	const dockerfile = `FROM scratch AS unused
COPY hello.txt /
FROM busybox:latest AS wanted
ARG GREETING
LABEL slipway.job=theirs from=dockerfile
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = hunter2
RUN test "$(ls /sys/class/net)" = lo && echo "$GREETING" > /greeting
CMD ["cat", "/greeting"]
FROM scratch
`
	for name, hidden := range map[string][]byte{"inside": nil, "hidden": []byte(dockerfile)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tags := []string{"options-" + name + ":1"}
			built, err := tryBuildOf(t, e, hidden, jobs.Build{
				Dockerfile: "docker/app.Dockerfile",
				Target:     "wanted", Args: map[string]string{"GREETING": "good day from " + name}, Network: "none", Platform: "linux/amd64",
				Labels: map[string]string{"team": "builds"}, Tags: tags,
				Secrets: []jobs.Secret{{ID: "token", Name: "deploy-token"}},
			}, "docker/app.Dockerfile", dockerfile, "hello.txt", "hello\n")
			if err != nil {
				t.Fatal(err)
			}
			have, err := e.cli.ImageInspect(t.Context(), built.ImageID)
			if err != nil {
				t.Fatal(err)
			}
			wantLabels := map[string]string{engine.LabelJob: "theirs", "from": "dockerfile", "team": "builds"}
			if diff := cmp.Diff(wantLabels, have.Config.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tags, have.RepoTags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			for _, tag := range have.RepoTags {
				if _, err := e.cli.ImageRemove(t.Context(), tag, image.RemoveOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestHiddenDockerfilesOfOneSize: BuildKit keeps what the build before has sent. A Dockerfile
// that has the same name and size is another one all the same.
func TestHiddenDockerfilesOfOneSize(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	var all sync.WaitGroup
	for builder := range 3 {
		all.Go(func() {
			for i := range 6 {
				want := fmt.Sprintf("N=%d%d", builder, i%3)
				built, err := tryBuildOf(t, e, []byte("FROM busybox:latest\nENV "+want+"\n"), jobs.Build{}, "hello.txt", "hello\n")
				if err != nil {
					t.Error(err)
					return
				}
				have, err := e.cli.ImageInspect(t.Context(), built.ImageID)
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Contains(have.Config.Env, want) {
					t.Errorf("the image has %q, want %s: it was built from another Dockerfile", have.Config.Env, want)
				}
			}
		})
	}
	all.Wait()
}

// TestHiddenDockerfile: COPY sees what is in the context and nothing else.
func TestHiddenDockerfile(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	for _, name := range []string{"Dockerfile", "docker/app.Dockerfile"} {
		built, err := tryBuildOf(t, e, []byte("FROM busybox:latest\nCOPY . /context/\nRUN test \"$(ls -A /context)\" = hello.txt\n"), jobs.Build{Dockerfile: name}, "hello.txt", "hello\n")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := e.RemoveImage(t.Context(), built.ImageID); err != nil {
			t.Error(err)
		}
	}
}

// TestBases builds on images of a registry and of the host, in each of the
// ways a Dockerfile can name one.
func TestBases(t *testing.T) {
	t.Parallel()
	e := open(t, host, Options{})
	addr := hosttest.StartRegistry(t, host, hosttest.Login{})
	remote, pulled, unused := addr+"/remote:1", addr+"/pulled:1", addr+"/unused:1"
	digests := map[string]string{}
	for _, tag := range []string{remote, pulled, unused} {
		made, err := tryBuild(t, e, "FROM busybox:latest\nLABEL tag="+tag+"\n", jobs.Build{Tags: []string{tag}})
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := e.Push(t.Context(), made.ImageID, tag, nil)
		if err != nil {
			t.Fatal(err)
		}
		name, digest, _ := strings.Cut(pushed, "@")
		if name != strings.TrimSuffix(tag, ":1") || !jobs.IsDigest(digest) {
			t.Fatalf("push = %q, want %s@sha256:...", pushed, tag)
		}
		digests[tag] = digest
		if tag != pulled {
			if _, err := e.cli.ImageRemove(t.Context(), tag, image.RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	local, err := e.Image(t.Context(), "busybox:latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	built, err := tryBuild(t, e, `
FROM `+unused+` AS unused
FROM busybox:latest AS first
RUN --mount=type=bind,from=`+pulled+`,target=/other ls /other > /list
FROM scratch
COPY --from=first /list /
COPY --from=`+remote+` /bin/busybox /
`, jobs.Build{})
	if err != nil {
		t.Fatal(err)
	}
	want := []jobs.BaseImage{
		{Ref: "busybox:latest", Role: jobs.RoleStage, Digest: local, Local: true},
		{Ref: remote, Role: jobs.RoleCopy, Digest: digests[remote]},
		{Ref: pulled, Role: jobs.RoleMount, Digest: digests[pulled]},
	}
	if diff := cmp.Diff(want, built.Bases); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
	again, err := tryBuild(t, e, "FROM "+remote+"@"+digests[remote]+"\n", jobs.Build{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]jobs.BaseImage{{Ref: remote + "@" + digests[remote], Role: jobs.RoleFrom, Digest: digests[remote], Pinned: true}}, again.Bases); diff != "" {
		t.Errorf("bases by digest (-want +got):\n%s", diff)
	}
}
