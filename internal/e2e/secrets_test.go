//go:build integration

package e2e_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-farm/slipway/internal/jobs"
)

// TestSecretIsNowhere prints what it has of secrets in every way, kills the worker meanwhile,
// and looks for the values wherever a job leaves something.
func TestSecretIsNowhere(t *testing.T) {
	t.Parallel()
	host := hosts.Take(t)
	before := baseline(t, host)
	f := newFarm(t)
	runtime, err := os.MkdirTemp("/dev/shm", "slipway-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	token, password := "tok-"+rand.Text(), "pw-"+rand.Text()
	secrets := contextDir(t, map[string]string{"token": token, "db-password": password + "\n"})
	w := f.worker(host, "one", "--secrets", secrets, "--runtime-dir", runtime, "--log-level", "debug")
	server := f.serve()

	// At once and with a pause in between, on both streams.
	dir := contextDir(t, map[string]string{"Dockerfile": `FROM busybox
RUN --mount=type=secret,id=token t=$(cat /run/secrets/token); echo "build: $t, ${t}x"; printf %s "${t%??????}"; sleep 0.3; echo "${t#"${t%??????}"}"; echo "$t" >&2
`})
	script := `grep " /run/secrets " /proc/mounts | cut -d" " -f1-3; ls -ln /run/secrets | tail -n +2 | cut -c1-10
p=$(cat /run/secrets/db); echo "run: $p"; printf %s "${p%????}"; sleep 0.3; echo "${p#"${p%????}"}"; echo "$p" >&2`
	job, a := f.run("-t", "nowhere:1", "--no-cache", "--secret", "id=token", "--run-secret", "id=db,name=db-password", "--user", "65534",
		"--output-path", "/tmp", "--run", dir, "--", "sh", "-c", script+"; exit 3")
	if job.State != jobs.Failed || job.Result.Failure.Kind != jobs.KindExitNonzero {
		t.Fatalf("the job is %s, %+v\n%s", job.State, job.Result.Failure, a.stderr)
	}
	log := f.enqueue("logs", job.ID)
	stars, hidden := strings.Repeat("*", len(password)), strings.Repeat("*", len(token))
	if want := "tmpfs /run/secrets tmpfs\n-r--r--r--\nrun: " + stars + "\n" + stars + "\n"; log.stdout != want {
		t.Errorf("the run printed %q; want %q", log.stdout, want)
	}
	if want := "build: " + hidden + ", " + hidden + "x"; !strings.Contains(log.stderr, want) || strings.Count(log.stderr, hidden) != 4 || strings.Count(log.stderr, stars) != 5 {
		t.Errorf("the log lacks %q, or has a value too few:\n%s", want, log.stderr)
	}
	shown := a.stdout + a.stderr + log.stdout + log.stderr

	service := f.submit("--image", "busybox", "--keep", "1h", "--run-secret", "id=db,name=db-password", "--",
		"sh", "-c", script+`; while :; do sleep 1; cat /run/secrets/db; done`)
	if job := f.ended(service); !job.Up() {
		t.Fatalf("the service is %s, %+v", job.State, job.Result)
	}
	shown += strings.Join(docker(t, host, "inspect", f.job(service).Result.ContainerID), "\n") + processes(t)
	w.Kill()
	f.wantNowhere("the password", password) // also in what a crash leaves
	w.start()
	again := func() bool { return strings.Count(f.enqueue("logs", service).stdout, stars) > 5 }
	f.eventually(time.Minute, "the next worker reads the service's log on", again)
	for _, id := range []string{job.ID, service} {
		for _, verb := range [][]string{{"status", "-o", "json"}, {"status"}, {"result", "-o", "json"}, {"logs"}, {"ls", "-o", "json"}, {"show"}} {
			argv := verb
			if verb[0] != "ls" {
				argv = append([]string{verb[0], id}, verb[1:]...)
			}
			a := f.enqueue(argv...)
			shown += a.stdout + a.stderr
		}
		for _, path := range []string{"", "/logs", "/logs?format=jsonl", "/failure", "/why", "/news", "/events", "/steps", "/outputs"} {
			shown += server.get(t, "/v1/jobs/"+id+path)
		}
	}
	if a := f.enqueue("cancel", service); a.code != 0 {
		t.Fatalf("cancel: %s", a.stderr)
	}
	f.eventually(time.Minute, "no container has secrets any more", func() bool {
		left, err := filepath.Glob(filepath.Join(runtime, "*", "*"))
		return err == nil && len(left) == 0
	})
	f.noSpools("one")
	for what, value := range map[string]string{"the token": token, "the password": password} {
		if at := strings.Index(shown, value); at >= 0 {
			t.Errorf("%s is shown: %s", what, shown[max(0, at-100):min(len(shown), at+100)])
		}
		if strings.Contains(w.Output(), value) {
			t.Errorf("%s is in the worker's log", what)
		}
		f.wantNowhere(what, value)
	}
	f.untag(host, job, "nowhere:1")
	clean(t, host, before)
}

// processes are the command lines and environments of all processes.
func processes(t *testing.T) string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(all) == 0 {
		t.Fatalf("found no processes (%v)", err)
	}
	var text strings.Builder
	for _, path := range all {
		for _, name := range []string{path, filepath.Join(filepath.Dir(path), "environ")} {
			b, err := os.ReadFile(name)
			if err == nil { // else it has ended
				text.Write(b)
			}
		}
	}
	return text.String()
}

// get is what the server answers, whatever the status.
func (s apiServer) get(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
