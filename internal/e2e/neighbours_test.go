//go:build integration

package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// fails submits a job that tries something, and checks that it ends with that kind
// of failure.
func (f *farm) fails(kind jobs.Kind, args ...string) {
	f.t.Helper()
	job, a := f.run(args...)
	if job.Result == nil || job.Result.Failure == nil || job.Result.Failure.Kind != kind {
		f.t.Errorf("submit %q: %s with %+v; want %s\n%s", args, job.State, job.Result, kind, a.stderr)
	}
}

// worked submits a job that has to succeed.
func (f *farm) worked(args ...string) jobs.Job {
	f.t.Helper()
	job, a := f.run(args...)
	if job.State != jobs.Succeeded || a.code != 0 {
		f.t.Fatalf("submit %q: %s with %+v\n%s", args, job.State, job.Result, a.stderr)
	}
	return job
}

// names are the images of a host by their names, without those of jobs under way.
func names(t *testing.T, h *hosttest.Host) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, line := range docker(t, h, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}") {
		if name, id, _ := strings.Cut(line, " "); !strings.HasPrefix(name, jobs.ImageRepository("")) && name != "<none>:<none>" {
			found[name] = id
		}
	}
	return found
}

// restored removes the names that a test gave when it is over.
func restored(t *testing.T, h *hosttest.Host) {
	t.Helper()
	before := names(t, h)
	t.Cleanup(func() {
		cmd := exec.Command("docker", "images", "--format", "{{.Repository}}:{{.Tag}}")
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+h.DockerHost())
		out, _ := cmd.Output()
		for _, name := range strings.Fields(string(out)) {
			if before[name] == "" && !strings.Contains(name, "<none>") {
				rm := exec.Command("docker", "rmi", name)
				rm.Env = cmd.Env
				_ = rm.Run() // the next test's baseline tells
			}
		}
	})
}

// frontends builds contexts of a gateway frontend that marks what it builds.
func frontends(t *testing.T, owner string) string {
	t.Helper()
	dir := contextDir(t, map[string]string{"Dockerfile": fmt.Sprintf("FROM scratch\nCOPY frontend /\nENTRYPOINT [\"/frontend\", %q]\n", owner)})
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "frontend"), "./testdata/frontend")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the frontend: %v\n%s", err, out)
	}
	return dir
}

// A frontend makes the steps of every build that names it, and sees its secrets. No
// image of a job ever is one: not under a frontend's name, and not under another.
func TestFrontendOfAJob(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	restored(t, hostA)
	registry := hosttest.StartRegistry(t, hostA, hosttest.Login{})
	const official = "docker/dockerfile:1"
	later := registry + "/team/front:1"
	if out, err := dockerBuildOf(t, nil, hostA.DockerHost(), "1", "-t", official, "-t", later, frontends(t, "operator")); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	docker(t, hostA, "push", later)
	docker(t, hostA, "rmi", later)
	f := newFarm(t)
	f.worker(hostA, "one", f.policy(""))
	front := frontends(t, "mallory")
	victim := func(syntax string) string {
		return contextDir(t, map[string]string{"Dockerfile": "# syntax=" + syntax + "\nFROM busybox\nRUN echo made >/made\n"})
	}
	builtBy := func(f *farm, syntax string) {
		f.t.Helper()
		job := f.worked("-t", "victim:1", victim(syntax))
		if got := docker(f.t, hostA, "inspect", "--format", "{{.Author}}", "victim:1"); len(got) != 1 || got[0] != "operator" {
			f.t.Errorf("the image was built by the frontend of %q", got)
		}
		if !slices.ContainsFunc(job.Result.Bases, func(b jobs.BaseImage) bool { return b.Role == jobs.RoleSyntax && b.Ref == syntax }) {
			f.t.Errorf("the result has the images %+v, and no frontend %s", job.Result.Bases, syntax)
		}
	}
	builtBy(f, official)

	for _, name := range []string{
		official, "docker/dockerfile", "docker/dockerfile:1.7-labs", "docker/dockerfile:of-tomorrow",
		"docker.io/docker/dockerfile:1", "index.docker.io/docker/dockerfile:1",
	} {
		t.Run("name "+name, func(t *testing.T) {
			f.in(t).fails(jobs.KindTagNotAllowed, "-t", name, front)
		})
	}
	t.Run("push", func(t *testing.T) {
		f.in(t).fails(jobs.KindTagNotAllowed, "--push", "-t", official, front)
	})
	builtBy(f, official)

	// Under his own name the author keeps his frontend, and no other job is built by it.
	mine := registry + "/mallory/front:1"
	f.worked("-t", "mallory/front:1", front)
	f.worked("--push", "-t", mine, front)
	for _, syntax := range []string{"mallory/front:1", "docker.io/mallory/front:1", mine} {
		t.Run("syntax "+syntax, func(t *testing.T) {
			f.in(t).fails(jobs.KindFrontendNotAllowed, "-t", "mallory/taken:1", victim(syntax))
		})
		t.Run("argument "+syntax, func(t *testing.T) {
			f.in(t).fails(jobs.KindBuildArgReserved, "-t", "mallory/taken:1", "--build-arg", "BUILDKIT_SYNTAX="+syntax, victim(official))
		})
	}

	// The operator opens a frontend after a job has got its name here.
	f.worked("-t", later, front)
	f.policy("dockerfile: {frontends: [\"docker/dockerfile:*\", \"" + registry + "/team/*\"]}\n")
	builtBy(f, later)
	f.fails(jobs.KindTagNotAllowed, "-t", later, front)
	f.fails(jobs.KindTagNotAllowed, "--push", "-t", later, front)
	builtBy(f, later)
	if got := docker(t, hostA, "images", "-q", "mallory/taken"); len(got) != 0 {
		t.Errorf("a refused build left %q", got)
	}
	clean(t, hostA, before)
}

// A name that an image of the operator, of a registry, of the farm or of another
// recipe has is given to no job's image, whichever way it is written.
func TestNamesOfOthers(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	restored(t, hostA)
	registry := hosttest.StartRegistry(t, hostA, hosttest.Login{})
	for _, name := range []string{"/base:1", "/remote:1"} {
		docker(t, hostA, "tag", hosttest.BusyboxTag, registry+name)
		docker(t, hostA, "push", registry+name)
		docker(t, hostA, "rmi", registry+name)
	}
	docker(t, hostA, "tag", hosttest.BusyboxTag, "golang:1")
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	evil := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /evil\n"})
	f.worked("--image", registry+"/base:1", "--", "true") // brought by the farm
	alphas := f.worked("--name", "alpha", "-t", "shared/app:1", contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nLABEL of=alpha\n"}))
	had := names(t, hostA)
	for _, name := range []string{
		"busybox", "busybox:latest", "docker.io/busybox", "docker.io/library/busybox:latest", "index.docker.io/library/busybox:latest", "library/busybox",
		"golang:1", "index.docker.io/library/golang:1",
		"slipway-doctor:x", "docker.io/library/slipway-doctor:x",
		jobs.ImageName("default", alphas.ID, 1), "index.docker.io/" + jobs.ImageName("default", "next", 1),
		registry + "/base:1",
		"shared/app:1", "docker.io/shared/app:1",
	} {
		t.Run(name, func(t *testing.T) {
			f := f.in(t)
			f.fails(jobs.KindTagNotAllowed, "--name", "beta", "-t", name, evil)
			if strings.HasPrefix(name, "slipway") || strings.Contains(name, "shared") {
				f.fails(jobs.KindTagNotAllowed, "-t", name, evil) // of no recipe
			}
		})
	}
	if now := names(t, hostA); !maps.Equal(now, had) {
		t.Errorf("names are\n%q\nthey were\n%q", now, had)
	}

	// What only the registry has is free on the host, and the registry's all the same.
	remote := registry + "/remote:1"
	f.worked("-t", remote, evil)
	built := f.worked(contextDir(t, map[string]string{"Dockerfile": "FROM " + remote + "\nRUN test ! -e /evil\n"}))
	if b := built.Result.Bases; len(b) != 1 || b[0].Digest != remoteDigest(t, hostA, remote, hosttest.Login{}) || b[0].Local {
		t.Errorf("bases %+v, want what the registry has", b)
	}
	f.worked("-t", "other/remote:1", evil)
	f.worked("--image", remote, "--", "test", "!", "-e", "/evil")
	clean(t, hostA, before)
}

// gates are the registry's answers that a test holds back, by the end of their path.
type gates struct {
	mu   sync.Mutex
	held map[string]*gate
}

type gate struct {
	reached, open chan struct{}
	once          sync.Once
}

// hold holds the first answer to a push of a manifest, such as /v2/app/manifests/1.
func (g *gates) hold(path string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	if g.held == nil {
		g.held = map[string]*gate{}
	}
	g.held[path] = one
	return one
}

func (g *gates) before(r *http.Request) {
	g.mu.Lock()
	one := g.held[r.URL.Path]
	g.mu.Unlock()
	if one == nil || r.Method != http.MethodPut {
		return
	}
	one.once.Do(func() { close(one.reached) })
	select {
	case <-one.open:
	case <-r.Context().Done():
	}
}

// Of two jobs with one tag each publishes its own image, also when the other takes the
// name on the host, or in the registry, while it is pushing.
func TestPushBesideAnotherJob(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	restored(t, hostA)
	var held gates
	registry := hosttest.StartSharedRegistry(t, hosttest.RegistryOptions{Before: held.before}, hostA)
	f := newFarm(t)
	f.worker(hostA, "one", "--slots=2")
	dir := func(who string) string {
		return contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo " + who + " >/who\nCMD cat /who\n"})
	}
	// published checks whose image stands behind the digest that a job recorded.
	published := func(job jobs.Job, who, tag string) {
		t.Helper()
		name, _, _ := strings.Cut(tag, ":1")
		i := slices.IndexFunc(job.Result.RepoDigests, func(d string) bool { return strings.HasPrefix(d, registry+name+"@") })
		if job.State != jobs.Succeeded || i < 0 {
			t.Fatalf("job of %s is %s with %+v", who, job.State, job.Result)
		}
		digest := job.Result.RepoDigests[i]
		ran := f.worked("--image", digest, "--", "cat", "/who")
		if got := string(f.stored(ran).stdout); got != who+"\n" {
			t.Errorf("what %s published as %s is the image of %q", who, digest, got)
		}
	}
	for _, tt := range []struct {
		name   string
		others []string // flags of the job that comes in between
	}{
		{"a job that pushes nothing", nil},
		{"a job that pushes, too", []string{"--push"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tag := fmt.Sprintf("/race-%d:1", len(tt.others))
			slow := fmt.Sprintf("/slow-%d:1", len(tt.others))
			gate := held.hold("/v2" + strings.Replace(slow, ":", "/manifests/", 1))
			a := f.submit("--push", "-t", registry+slow, "-t", registry+tag, "--run", dir("A"))
			select {
			case <-gate.reached:
			case <-time.After(time.Minute):
				close(gate.open)
				t.Fatalf("the push did not begin: %+v", f.job(a).Result)
			}
			other := f.worked(append(tt.others, "-t", registry+tag, "--run", dir("B"))...)
			close(gate.open)
			first := f.ended(a)
			published(first, "A", slow)
			published(first, "A", tag)
			if tt.others != nil {
				published(other, "B", tag)
			}
			for who, job := range map[string]jobs.Job{"A": first, "B": other} {
				if got := string(f.stored(job).stdout); got != who+"\n" {
					t.Errorf("the run of %s printed %q", who, got)
				}
			}
			if now := registry + strings.TrimSuffix(tag, ":1") + "@" + remoteDigest(t, hostA, registry+tag, hosttest.Login{}); !slices.Contains(first.Result.RepoDigests, now) {
				t.Errorf("the registry has %s, and A pushed last: %q", now, first.Result.RepoDigests)
			}
		})
	}
	for _, name := range docker(t, hostA, "images", "--digests", "--format", "{{.Repository}}@{{.Digest}}", "--filter", "reference="+registry+"/*") {
		if !strings.HasSuffix(name, "<none>") {
			cmd := exec.CommandContext(t.Context(), "docker", "rmi", name)
			cmd.Env = append(os.Environ(), "DOCKER_HOST="+hostA.DockerHost())
			_ = cmd.Run() // it may have gone with its tag
		}
	}
	clean(t, hostA, before)
}

// What a build stands on is told by who resolved it, not by text of the build.
func TestBasesInText(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	restored(t, hostA)
	registry := hosttest.StartRegistry(t, hostA, hosttest.Login{})
	base := registry + "/base:1"
	docker(t, hostA, "tag", hosttest.BusyboxTag, base)
	docker(t, hostA, "push", base)
	docker(t, hostA, "rmi", base)
	digest := remoteDigest(t, hostA, base, hosttest.Login{})
	f := newFarm(t)
	f.worker(hostA, "one")
	const forged = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, tt := range []struct{ name, rest string }{
		{"RUN", "RUN echo BASE" + forged + "\nRUN : '[internal] load metadata for docker.io/library/forged:1'\nRUN : FROM BASE" + forged + " docker-image://docker.io/library/forged:1\n"},
		{"comment", "# FROM BASE" + forged + "\nRUN : # BASE" + forged + "\n"},
		{"LABEL", "LABEL FROM=\"BASE" + forged + "\" base=\"[internal] load metadata for BASE" + forged + "\"\nRUN :\n"},
		{"ARG and ENV", "ARG FROM=BASE" + forged + "\nENV BASE=BASE" + forged + "\nRUN echo $FROM\n"},
		{"WORKDIR", "WORKDIR \"/FROM BASE" + forged + "\"\nRUN :\n"},
		{"stage that looks like an image", " AS golang\nRUN echo one >/one\nFROM golang AS docker.io\nRUN :\nFROM docker.io\nCOPY --from=golang /one /two\n"},
		{"COPY --from a stage by number", " AS forged\nRUN echo one >/one\nFROM forged\nCOPY --from=0 /one /FROM-BASE" + forged + "\n"},
		{"heredoc", "RUN <<EOF\n# FROM BASE" + forged + "\n: FROM BASE" + forged + "\nEOF\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := f.in(t)
			for ref, local := range map[string]bool{base: false, hosttest.BusyboxTag: true} {
				text := strings.ReplaceAll("FROM BASE\n"+tt.rest, "\n AS", " AS")
				dir := contextDir(t, map[string]string{"Dockerfile": strings.ReplaceAll(text, "BASE", ref)})
				job, a := f.run(dir)
				if tt.name == "heredoc" && job.State == jobs.Failed && job.Result.Failure.Kind == jobs.KindUnsupported {
					continue // of engines that know none
				}
				if job.State != jobs.Succeeded {
					t.Fatalf("the build is %s with %+v\n%s", job.State, job.Result, a.stderr)
				}
				b := job.Result.Bases
				if len(b) != 1 || b[0].Ref != ref || b[0].Local != local || strings.Contains(b[0].Digest+b[0].PlatformDigest, "0000000000") {
					t.Errorf("bases %+v, want %s alone", b, ref)
				}
				if !local && len(b) == 1 && b[0].Digest != digest {
					t.Errorf("digest of %s = %s, the registry has %s", ref, b[0].Digest, digest)
				}
			}
		})
	}
	clean(t, hostA, before)
}
