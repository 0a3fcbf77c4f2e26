//go:build integration

package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/contexts/contextstest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
	"github.com/slipway-farm/slipway/internal/jobs/jobstest"
)

// TestHostileArchives takes the corpus of archives through a real worker: what is
// bad is refused before the daemon is asked for anything, and leaves nothing.
func TestHostileArchives(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	w := newWatchedFarm(t, hostA, nil)
	submit := func(a contextstest.Archive) jobs.Spec {
		c := a.Context
		c.Ref = w.put(t, a.Name, a.Bytes)
		return jobs.Spec{Context: &c, Build: &jobs.Build{Dockerfile: a.Dockerfile}}
	}
	before := w.settled(t)
	var ids []string
	var good []contextstest.Archive
	for _, a := range contextstest.Archives(t) {
		if a.Kind == "" {
			good = append(good, a)
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			ids = append(ids, w.refused(t, submit(a), a.Kind, a.Says).ID)
		})
	}
	w.untouched(t, before, ids...)
	for _, a := range good {
		t.Run(a.Name, func(t *testing.T) {
			job, answer := w.document(t, submit(a))
			if job.State != jobs.Succeeded {
				t.Fatalf("the job is %s, want it to be built\n%s", job.State, answer.stderr)
			}
			if logged := w.in(t).enqueue("logs", job.ID); a.Says != "" && !strings.Contains(logged.stdout+logged.stderr, a.Says) {
				t.Errorf("the log does not warn that %s:\n%s%s", a.Says, logged.stdout, logged.stderr)
			}
		})
	}
	t.Logf("%d archives refused, %d built", len(ids), len(good))
}

// TestHostileArchivesAtSubmit gives the same archives to the command line, which
// refuses them itself: the farm never hears of them.
func TestHostileArchivesAtSubmit(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	w := newWatchedFarm(t, hostA, nil)
	before := w.settled(t)
	for _, a := range contextstest.Archives(t) {
		if a.Kind == "" || a.Context != (jobs.Context{}) {
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			args := []string{"submit", "-"}
			if a.Dockerfile != "" {
				args = append(args, "-f", a.Dockerfile)
			}
			got := w.in(t).enqueueWith(a.Bytes, args...)
			if got.code != jobs.ExitUsage || got.stdout != "" || !strings.Contains(got.stderr, string(a.Kind)) || !strings.Contains(got.stderr, a.Says) || !strings.Contains(got.stderr, "hint:") {
				t.Errorf("exit code %d, want %d\n%s%s\nwant %s: ...%s... and a hint", got.code, jobs.ExitUsage, got.stdout, got.stderr, a.Kind, a.Says)
			}
		})
	}
	w.untouched(t, before)
}

// TestHostileDockerfiles takes the corpus of Dockerfiles through a real worker.
func TestHostileDockerfiles(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	w := newWatchedFarm(t, hostA, nil)
	before := w.settled(t)
	var ids []string
	for _, d := range contextstest.Dockerfiles() {
		if d.Kind == "" {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			b := d.Build
			spec := jobs.Spec{Build: &b, Context: &jobs.Context{Ref: w.put(t, d.Name, contextstest.Tar(t, contextstest.File("Dockerfile", d.Text)))}}
			ids = append(ids, w.refused(t, spec, d.Kind, d.Says).ID)
		})
	}
	w.untouched(t, before, ids...)
	t.Logf("%d Dockerfiles refused", len(ids))
}

// hostileReference is a document with something in it that is refused.
type hostileReference struct {
	name string
	spec jobs.Spec
	// code is a kind, when the worker finds it, or that of a problem.
	code, says string
}

// TestHostileReferences: what a reference, an image or a push may name.
func TestHostileReferences(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	// Two addresses of the host's loopback: the policy opens only the first.
	open := serve(t, hostA, "127.0.0.2:0", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	closed := serve(t, hostA, "127.0.0.1:0", func(http.ResponseWriter, *http.Request) { t.Error("a request to a forbidden address") })
	secret := filepath.Join(t.TempDir(), "outside.tar")
	w := newWatchedFarm(t, hostA, func(root string) string {
		return `
context:
  schemes: [cas, file, http, https, s3]
  file_roots: [` + root + `]
  http: {networks: [127.0.0.2/32], credentials: {known: {hosts: [known.example], bearer_file: ` + secret + `}}}
  s3: [{buckets: [team-*], endpoint: "http://127.0.0.1:1", region: us-east-1}]
images: {from: ["busybox*", "*/busybox*"], push: ["registry.example.com/team/*"]}
`
	})
	root := w.root
	context := contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox\n"))
	for name, content := range map[string][]byte{secret: context, filepath.Join(root, "good.tar"): context} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": secret, "above": "../../../../../../etc/passwd", "dir": "/etc"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	build := func(ref string) jobs.Spec { return jobs.Spec{Context: &jobs.Context{Ref: ref}, Build: &jobs.Build{}} }
	with := func(change func(*jobs.Spec)) jobs.Spec {
		spec := build("file://" + filepath.Join(root, "good.tar"))
		change(&spec)
		return spec
	}
	const forbidden = jobstest.ForbiddenAddress
	tests := []hostileReference{
		{"port of a forbidden address", build(closed + "/x"), "url_forbidden_address", forbidden},
		{"redirect to a forbidden address", build(open + "/?to=" + closed), "url_forbidden_address", forbidden},
		{"redirect to the metadata service", build(open + "/?to=http://169.254.169.254/"), "url_forbidden_address", forbidden},
		{"redirect without end", build(open + "/?to="), "url_redirect_refused", "elsewhere more than 3 times"},
		{"redirect to a file", build(open + "/?to=file:///etc/passwd"), "url_scheme_not_allowed", `"file"`},

		{"unknown credential", with(func(s *jobs.Spec) {
			s.Context = &jobs.Context{Ref: "https://example.com/x", Credential: "unknown"}
		}), "credential_invalid", "unknown"},
		{"credential of another host", with(func(s *jobs.Spec) {
			s.Context = &jobs.Context{Ref: "https://example.com/x", Credential: "known"}
		}), "credential_invalid", "known"},
		{"credential over http", with(func(s *jobs.Spec) {
			s.Context = &jobs.Context{Ref: "http://example.com/x", Credential: "known"}
		}), "credential_unused", "https:"},

		{"upper-case image", with(func(s *jobs.Spec) { s.Build.Tags = []string{"Team/App"} }), "image_ref_invalid", `with 'T' as byte 1`},
		{"long tag", with(func(s *jobs.Spec) { s.Build.Tags = []string{"app:" + strings.Repeat("t", 129)} }), "image_ref_invalid", "129 characters"},
		{"image that looks like a flag", with(func(s *jobs.Spec) { s.Build.Tags = []string{"-app"} }), "image_ref_invalid", `"-app"`},
		{"look-alike letter", with(func(s *jobs.Spec) { s.Build.Tags = []string{"\u0430pp"} }), "image_ref_invalid", "as byte 1"},
		{"space in an image", with(func(s *jobs.Spec) { s.Build.Tags = []string{"a pp"} }), "image_ref_invalid", "as byte 2"},
		{"image ID", jobs.Spec{Run: &jobs.Run{Image: "sha256:" + strings.Repeat("a", 64)}}, "image_ref_invalid", "found an image ID"},
		{"tag and digest", with(func(s *jobs.Spec) { s.Build.Tags = []string{"app:1@sha256:" + strings.Repeat("a", 64)} }), "image_ref_invalid", "a tag cannot carry a digest"},
		{"image that is not allowed", jobs.Spec{Run: &jobs.Run{Image: "alpine"}}, "image_not_allowed", `"alpine"`},
		{"base that is not allowed", build(w.put(t, "base", contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox AS a\nFROM evil.example/x\n")))), "image_not_allowed", `"evil.example/x"`},
		{"COPY --from an image", build(w.put(t, "from", contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox\nCOPY --from=evil.example/x / /\n")))), "image_not_allowed", `"evil.example/x"`},
		{"registry that is not allowed", with(func(s *jobs.Spec) {
			s.Build.Tags, s.Build.Push = []string{"elsewhere.example.com/team/app"}, true
		}), "registry_not_allowed", "elsewhere.example.com"},
		{"prefix that is not allowed", with(func(s *jobs.Spec) {
			s.Build.Tags, s.Build.Push = []string{"registry.example.com/other/app"}, true
		}), "push_prefix", "registry.example.com/other/app"},
		{"run of the metadata service", jobs.Spec{Run: &jobs.Run{Image: "169.254.169.254/busybox"}}, "registry_not_allowed", "is of a registry that is not open to jobs"},
		{"base of a private address", build(w.put(t, "private", contextstest.Tar(t, contextstest.File("Dockerfile", "FROM 10.0.0.1:5000/busybox\n")))), "registry_not_allowed", "is of a registry that is not open to jobs"},
		{"COPY --from a port below 1024", build(w.put(t, "redis", contextstest.Tar(t, contextstest.File("Dockerfile", "FROM busybox\nCOPY --from=127.0.0.1:22/busybox / /\n")))), "registry_not_allowed", "is of a registry that is not open to jobs"},
		{"cache of a private address", with(func(s *jobs.Spec) { s.Build.CacheFrom = []string{"192.168.0.1/busybox"} }), "registry_not_allowed", "is of a registry that is not open to jobs"},
		{"port below 1024", jobs.Spec{Run: &jobs.Run{Image: "busybox", Ports: []jobs.Port{{Container: 80, Host: 80}}}}, "port_not_allowed", "80/tcp"},
		{"port of the Docker daemon", with(func(s *jobs.Spec) { s.Run = &jobs.Run{Ports: []jobs.Port{{Container: 80, Host: 2375}}} }), "port_not_allowed", "2375/tcp"},
		{"tag that is the base", with(func(s *jobs.Spec) { s.Build.Tags = []string{"busybox"} }), "tag_is_base", "busybox"},

		{"Dockerfile above", with(func(s *jobs.Spec) { s.Build.Dockerfile = "../x" }), "dockerfile_path_invalid", `"../x"`},
		{"absolute Dockerfile", with(func(s *jobs.Spec) { s.Build.Dockerfile = "/etc/passwd" }), "dockerfile_path_invalid", `"/etc/passwd"`},
		{"network of the host", with(func(s *jobs.Spec) { s.Build.Network = "host" }), "network_invalid", `"host"`},
	}
	for _, r := range jobstest.References(root) {
		tests = append(tests, hostileReference{r.Name, build(r.Ref), r.Code, r.Says})
	}
	before := w.settled(t)
	var ids []string
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			isKind := slices.ContainsFunc(jobs.Kinds(), func(k jobs.KindInfo) bool { return string(k.Kind) == tt.code })
			job, a := w.document(t, tt.spec)
			if job.ID != "" && isKind {
				w.refusal(t, job, a, jobs.Kind(tt.code), tt.says)
				ids = append(ids, job.ID)
				return
			}
			w.rejection(t, job, a, tt.code, tt.says)
		})
	}
	w.untouched(t, before, ids...)
	t.Logf("%d references refused by the worker, %d at submit", len(ids), len(tests)-len(ids))
	for _, leak := range []string{"X-Amz-Signature=abc", "user:pass"} {
		if strings.Contains(w.worker.Output(), leak) {
			t.Errorf("the worker's log has %q", leak)
		}
	}
}

// serve answers on an address of the build host and returns its URL.
func serve(t *testing.T, at *hosttest.Host, addr string, h http.HandlerFunc) string {
	t.Helper()
	l, err := at.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close() // it listens where the test is
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}
