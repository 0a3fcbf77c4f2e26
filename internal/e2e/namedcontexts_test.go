//go:build integration

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-farm/slipway/internal/engine/enginetest"
	"github.com/slipway-farm/slipway/internal/hosttest"
	"github.com/slipway-farm/slipway/internal/jobs"
)

// Names in a Dockerfile stand for images on every engine, and for directories where the
// engine knows of such; elsewhere the job is told, and nothing is built.
func TestNamedContexts(t *testing.T) {
	t.Parallel()
	hostA := hosts.Take(t)
	before := baseline(t, hostA)
	f := newFarm(t)
	f.worker(hostA, "one")
	engine := engineVersion(t, hostA)
	other := contextDir(t, map[string]string{"lib/a.txt": "a", "left-out.txt": "x", ".dockerignore": "left-out.txt\n"})

	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM base\nCOPY --from=tools /bin/busybox /copied\nRUN --mount=from=base:latest,target=/m cmp /m/bin/busybox /copied\n" +
			"COPY . /main\nCMD [\"ls\", \"-A\", \"/main\"]\n",
		"main.txt": "m",
	})
	image := "docker-image://" + hosttest.BusyboxTag
	a := f.enqueue("submit", "--run", "--build-context", "base="+image, "--build-context", "tools="+image, dir)
	if want := "Dockerfile\nmain.txt\n"; a.code != 0 || a.stdout != want {
		t.Fatalf("exit code %d, stdout %q; want %q\n%s", a.code, a.stdout, want, a.stderr)
	}
	job := f.job(strings.TrimSpace(f.enqueue("ls", "-o", "name").stdout))
	var roles []jobs.Role
	for _, b := range job.Result.Bases {
		roles = append(roles, b.Role)
		if b.Ref != hosttest.BusyboxTag || b.Digest == "" {
			t.Errorf("base %+v; want %s, which the name stands for", b, hosttest.BusyboxTag)
		}
	}
	if len(roles) < 2 || roles[0] != jobs.RoleFrom {
		t.Errorf("bases have the roles %q", roles)
	}

	dir = contextDir(t, map[string]string{
		"Dockerfile": "FROM " + hosttest.BusyboxTag + "\nCOPY --from=shared . /shared\nCOPY . /main\nRUN --mount=from=inner,target=/m cp /m/in.txt /\n" +
			"CMD [\"sh\", \"-c\", \"find /main /shared /in.txt -type f | sort\"]\n",
		"main.txt": "m", "sub/in.txt": "i",
	})
	args := []string{"submit", "--run", "--build-context", "shared=" + other, "--build-context", "inner=" + filepath.Join(dir, "sub"), dir}
	a = f.enqueue(args...)
	if engine < 23 {
		if a.code == 0 || !strings.Contains(a.stderr, "knows no contexts by names") || !strings.Contains(a.stderr, string(jobs.KindUnsupported)) {
			t.Errorf("exit code %d; want to be told that the engine has none\n%s", a.code, a.stderr)
		}
	} else if want := "/in.txt\n/main/Dockerfile\n/main/main.txt\n/main/sub/in.txt\n/shared/.dockerignore\n/shared/lib/a.txt\n"; a.code != 0 || a.stdout != want {
		t.Errorf("exit code %d, stdout %q; want %q\n%s", a.code, a.stdout, want, a.stderr)
	}

	tarball := enginetest.Archive(t, "Dockerfile", "FROM "+hosttest.BusyboxTag+"\nCOPY --from=shared . /shared\n", "sub/in.txt", "i")
	for name, says := range map[string]string{"nowhere": "no such directory", "sub/in.txt": "no directory"} {
		a := f.enqueueWith(tarball, "submit", "--build-context", "shared="+name, "-")
		if engine >= 23 && (a.code == 0 || !strings.Contains(a.stderr, string(jobs.KindContextInvalid)) || !strings.Contains(a.stderr, says)) {
			t.Errorf("%s: exit code %d; want %q\n%s", name, a.code, says, a.stderr)
		}
	}
	if a := f.enqueueWith(tarball, "submit", "--build-context", "shared=sub", "-"); engine >= 23 && a.code != 0 {
		t.Errorf("a directory of the archive: exit code %d\n%s", a.code, a.stderr)
	}
	clean(t, hostA, before)
}
