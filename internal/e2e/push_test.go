//go:build integration

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// A pushed tag is recorded with the digest that the registry has it under.
func TestPush(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	for _, tt := range []struct {
		name  string
		login hosttest.Login
	}{
		{"open registry", hosttest.Login{}},
		{"with a login", hosttest.Login{User: "builder", Password: "pass-4711:word"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := baseline(t, hostA)
			f := newFarm(t)
			registry := hosttest.StartRegistry(t, hostA, tt.login)
			f.worker(hostA, "one", "--registry-auth", f.logins(registry, tt.login))
			dir := contextDir(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo pushed >/pushed\n"})
			tags := []string{registry + "/team/app:1", registry + "/team/app:latest", registry + "/other:1"}
			job, a := f.run("--push", "-t", tags[0], "-t", tags[1], "-t", tags[2], dir)
			if job.State != jobs.Succeeded || a.code != 0 {
				t.Fatalf("job is %s, exit code %d\n%s", job.State, a.code, a.stderr)
			}
			if len(job.Result.RepoDigests) != len(tags) {
				t.Fatalf("digests %q, want one for each of %q", job.Result.RepoDigests, tags)
			}
			for i, tag := range tags {
				want := strings.TrimSuffix(strings.TrimSuffix(tag, ":1"), ":latest") + "@" + remoteDigest(t, hostA, tag, tt.login)
				if got := job.Result.RepoDigests[i]; got != want {
					t.Errorf("digest of %s = %s, the registry has %s", tag, got, want)
				}
			}
			if want := strings.Replace(job.Result.RepoDigests[2], "@", ":1@", 1); !strings.Contains(a.stderr, want) {
				t.Errorf("submit does not tell %s:\n%s", want, a.stderr)
			}

			// Nothing local is left: the farm can build on what it pushed only by
			// asking the registry, with its login.
			f.untag(hostA, job, tags...)
			docker(t, hostA, "builder", "prune", "-af")
			child := contextDir(t, map[string]string{"Dockerfile": "FROM " + tags[0] + "\nRUN grep pushed /pushed\n"})
			built, a := f.run(child)
			if built.State != jobs.Succeeded {
				t.Fatalf("build on a private base: %s\n%s", built.State, a.stderr)
			}
			_, digest, _ := strings.Cut(job.Result.RepoDigests[0], "@")
			if bases := built.Result.Bases; len(bases) != 1 || bases[0].Ref != tags[0] || bases[0].Digest != digest || bases[0].Local {
				t.Errorf("bases %+v, want %s with %s", bases, tags[0], digest)
			}
			ran, a := f.run("--image", tags[2], "--", "cat", "/pushed")
			if ran.State != jobs.Succeeded || string(f.stored(ran).stdout) != "pushed\n" {
				t.Errorf("run of a private image: %s\n%s", ran.State, a.stderr)
			}
			f.untag(hostA, ran, tags[2])
			clean(t, hostA, before)
			if tt.login.Password != "" {
				f.wantNowhere("the registry password", tt.login.Password)
			}
		})
	}
}

// What goes wrong with a registry is told apart: it says no, or it is away.
func TestPushFailures(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	login := hosttest.Login{User: "builder", Password: "right"}
	registry := hosttest.StartRegistry(t, hostA, login)
	const gone = "127.0.0.1:65001" // nothing listens there
	files := map[string]string{"Dockerfile": "FROM busybox\nLABEL pushed=never\n"}
	base := map[string]string{"Dockerfile": "FROM " + registry + "/private:1\n"}
	host := strings.ReplaceAll(registry, ".", `\.`)
	for _, tt := range []struct {
		failing
		login hosttest.Login
	}{
		{failing{
			name: "wrong password", files: files, args: []string{"--push", "-t", registry + "/app:1"},
			state: jobs.Failed, stage: jobs.StagePush, kind: jobs.KindRegistryDenied, code: -1, exit: jobs.ExitAuth,
			message: `registry ` + host + ` denied access to ` + host + `/app:1`, hint: "credentials",
		}, hosttest.Login{User: "builder", Password: "wrong"}},
		{failing{
			name: "no login", files: files, args: []string{"--push", "-t", registry + "/app:1"},
			state: jobs.Failed, stage: jobs.StagePush, kind: jobs.KindRegistryDenied, code: -1, exit: jobs.ExitAuth,
			message: `registry ` + host + ` denied access to ` + host + `/app:1`, hint: "credentials",
		}, hosttest.Login{}},
		{failing{
			name: "private base without a login", files: base,
			state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindRegistryDenied, code: -1, exit: jobs.ExitAuth,
			message: `registry ` + host + ` denied access to ` + host + `/private:1`, hint: "credentials",
		}, hosttest.Login{}},
		{failing{
			name: "base that the registry does not have", files: base,
			state: jobs.Failed, stage: jobs.StageBuild, kind: jobs.KindBaseMissing, code: -1, exit: jobs.ExitFailed,
			message: `base image ` + host + `/private:1 was not found`, hint: "check the name",
		}, login},
		{failing{
			name: "private image without a login", args: []string{"--image", registry + "/private:1", "--", "true"},
			state: jobs.Failed, stage: jobs.StageRun, kind: jobs.KindRegistryDenied, code: -1, exit: jobs.ExitAuth,
			message: `registry ` + host + ` denied access to ` + host + `/private:1`, hint: "credentials",
		}, hosttest.Login{}},
		{failing{
			name: "registry away", files: files, args: []string{"--push", "-t", gone + "/app:1"},
			state: jobs.Failed, stage: jobs.StagePush, kind: jobs.KindPush, code: -1, exit: jobs.ExitInfra,
			message: `no answer of a registry came from 127\.0\.0\.1:65001 when it was asked for 127\.0\.0\.1:65001/app:1, and so for \ds`, hint: "when the registry is well",
		}, login},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := baseline(t, hostA)
			f := newFarm(t)
			f.worker(hostA, "one", "--registry-auth", f.logins(registry, tt.login), "--push-timeout", "5s")
			args := tt.args
			if tt.files != nil {
				args = append(args, contextDir(t, tt.files))
			}
			job, a := f.run(args...)
			tt.check(t, job)
			if a.code != tt.exit {
				t.Errorf("exit code %d, want %d", a.code, tt.exit)
			}
			told(t, a.stderr, job)
			if r := job.Result; len(r.RepoDigests) > 0 {
				t.Errorf("digests %q of what was not pushed", r.RepoDigests)
			}
			clean(t, hostA, before) // a name that was not pushed stands for nothing
			f.noSpools("one")
			if tt.login.Password != "" {
				f.wantNowhere("the registry password", base64.StdEncoding.EncodeToString([]byte(tt.login.User+":"+tt.login.Password)))
			}
		})
	}
}

// A secret is there for the step that mounts it, and nowhere else.
func TestSecrets(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	const value, other = "s3cr3t-Value-0815", "an0ther-One-4711"
	secrets := contextDir(t, map[string]string{"token": value, "deploy.key": other})
	w := f.worker(hostA, "one", "--secrets", secrets, "--log-level", "debug")
	// The steps compare hashes: the values are not in the Dockerfile either.
	dir := contextDir(t, map[string]string{"Dockerfile": `FROM busybox
RUN --mount=type=secret,id=token echo token has hash $(sha256sum </run/secrets/token)
RUN --mount=type=secret,id=key,target=/key echo key has hash $(sha256sum </key)
RUN ls -A /run/secrets 2>/dev/null | grep . && exit 1; echo nothing is left
CMD ["sh", "-c", "env; cat /run/secrets/* /key 2>/dev/null; echo done"]
`})
	const tag = "secret-test:1"
	job, a := f.run("--run", "--no-cache", "-t", tag, "--secret", "id=token", "--secret", "id=key,name=deploy.key", dir)
	if job.State != jobs.Succeeded {
		t.Fatalf("job is %s\n%s", job.State, a.stderr)
	}
	replay := f.enqueue("logs", job.ID)
	for _, want := range []string{"token has hash " + hashOf(value), "key has hash " + hashOf(other), "nothing is left"} {
		if !strings.Contains(replay.stderr, want) {
			t.Errorf("the build's log lacks %q:\n%s", want, replay.stderr)
		}
	}
	failed, _ := f.run("--no-cache", "--secret", "id=token", contextDir(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=token test -s /run/secrets/token && exit 5\n",
	}))
	if failed.State != jobs.Failed || !strings.Contains(failed.Result.Failure.Message, "exit code 5") {
		t.Errorf("failing step with a secret: %s, %+v", failed.State, failed.Result.Failure)
	}
	shown := a.stdout + a.stderr + replay.stdout + replay.stderr + w.Output()
	shown += strings.Join(docker(t, hostA, "history", "--no-trunc", tag), "\n") + strings.Join(docker(t, hostA, "inspect", tag), "\n")
	for what, secret := range map[string]string{"token": value, "key": other} {
		if strings.Contains(shown, secret) {
			t.Errorf("the value of %s is shown", what)
		}
		f.wantNowhere("the value of "+what, secret)
		image := filepath.Join(t.TempDir(), "image.tar")
		docker(t, hostA, "save", "-o", image, tag)
		if b, err := os.ReadFile(image); err != nil || bytes.Contains(b, []byte(secret)) {
			t.Errorf("the value of %s is in the image (%v)", what, err)
		}
	}
	f.untag(hostA, job, tag)
	clean(t, hostA, before)
}

// untag removes images once the job's container is gone, which is a moment after
// the result is there.
func (f *farm) untag(h *hosttest.Host, job jobs.Job, tags ...string) {
	f.t.Helper()
	f.eventually(10*time.Second, "the container is gone", func() bool {
		return len(docker(f.t, h, "ps", "-aq", "--filter", "label=slipway.job="+job.ID)) == 0
	})
	if len(tags) > 0 {
		docker(f.t, h, append([]string{"rmi"}, tags...)...)
	}
}

// wantNowhere fails the test when text is in anything that the farm keeps: its
// Redis, its artifact store, its workers' state and logs.
func (f *farm) wantNowhere(what, text string) {
	f.t.Helper()
	needle := []byte(text)
	searched := 0
	look := func(path string, r io.Reader) {
		b, err := io.ReadAll(r)
		if err != nil {
			f.t.Fatal(err)
		}
		searched++
		if bytes.Contains(b, needle) {
			f.t.Errorf("%s is in %s", what, path)
		}
	}
	store := f.blobs()
	for _, job := range f.list(200) {
		digests := []string{job.Result.Log.Digest}
		if job.Spec.Context != nil {
			digests = append(digests, job.Spec.Context.Digest)
		}
		for _, digest := range digests {
			if digest == "" {
				continue
			}
			blob, err := store.Read(f.t.Context(), digest)
			if err != nil {
				f.t.Fatal(err)
			}
			look("blob "+digest, blob)
			_ = blob.Close()
		}
	}
	// The append-only file holds every command that Redis ever got.
	for _, root := range []string{f.redis.Dir, f.dir} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || path == f.loginFile() {
				return err
			}
			file, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) { // the worker is at work
				return nil
			} else if err != nil {
				return err
			}
			defer file.Close()
			look(path, file)
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	if searched < 5 {
		f.t.Errorf("only %d files were searched for %s", searched, what)
	}
}

func (f *farm) loginFile() string { return filepath.Join(f.dir, "config.json") }

// logins writes a file with the login of a registry, as docker login does, and
// returns its path.
func (f *farm) logins(registry string, login hosttest.Login) string {
	f.t.Helper()
	auths := map[string]map[string]string{}
	if login != (hosttest.Login{}) {
		auths[registry] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(login.User + ":" + login.Password))}
	}
	raw, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.loginFile(), raw, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.loginFile()
}

// remoteDigest asks the registry itself, from inside the host's namespace: the
// digest is that of the manifest's bytes.
func remoteDigest(t *testing.T, h *hosttest.Host, ref string, login hosttest.Login) string {
	t.Helper()
	host, path, _ := strings.Cut(ref, "/")
	repo, tag, _ := strings.Cut(path, ":")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/"+repo+"/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"} {
		req.Header.Add("Accept", kind)
	}
	req.SetBasicAuth(login.User, login.Password)
	client := &http.Client{Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	manifest, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("ask for %s: %s, %v", ref, resp.Status, err)
	}
	return "sha256:" + hashOf(string(manifest))
}

// hashOf is what sha256sum prints of a value.
func hashOf(value string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(value))) }
